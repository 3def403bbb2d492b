//go:build unix

package loadertest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
)

// guard ends what the tests started, and removes what they left, when this process ends,
// however that ends: kill -9 and go test's time limit included.
type guard struct {
	dir string
	// group is the process group of what is guarded. Its first member only waits.
	group   int
	hold    io.Closer
	members []*exec.Cmd
}

var guarding atomic.Pointer[guard]

// cleanUp waits until our end of its standard input closes, which it does even if we are
// killed. A signal of the terminal, or one for a program that is stopped, would not end all.
const cleanUp = `cat >/dev/null
kill -s KILL -- "-$1" 2>/dev/null
rm -rf "$2" 2>/dev/null || { sleep 1; rm -rf "$2"; }`

// startGuard makes a folder for all temporary files of this process, and begins to guard.
func startGuard() (*guard, error) {
	dir, err := os.MkdirTemp("", "candu-test-")
	if err != nil {
		return nil, fmt.Errorf("making the tests' directory: %w", err)
	}
	g := &guard{dir: dir}
	if err := g.start(); err != nil {
		g.end()
		return nil, err
	}
	return g, nil
}

func (g *guard) start() error {
	// Programs that run as another user find their own in there.
	temp := filepath.Join(g.dir, "tmp")
	if err := os.MkdirAll(temp, 0o711); err != nil {
		return fmt.Errorf("making the tests' directory: %w", err)
	}
	if err := os.Chmod(g.dir, 0o711); err != nil {
		return fmt.Errorf("opening the tests' directory: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("guarding the tests: %w", err)
	}
	defer func() { _ = read.Close() }()
	g.hold = write
	leader := exec.Command("cat")
	if err := g.join(leader, read); err != nil {
		return err
	}
	g.group = leader.Process.Pid
	if err := g.join(exec.Command("/bin/sh", "-c", cleanUp, "sh", strconv.Itoa(g.group), g.dir), read); err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", temp); err != nil {
		return fmt.Errorf("naming the tests' directory: %w", err)
	}
	return nil
}

// join starts a program in a process group of its own.
func (g *guard) join(cmd *exec.Cmd, stdin *os.File) error {
	cmd.Stdin, cmd.SysProcAttr = stdin, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("guarding the tests: %w", err)
	}
	g.members = append(g.members, cmd)
	return nil
}

func (g *guard) end() {
	if g.hold != nil {
		_ = g.hold.Close()
	}
	for _, cmd := range g.members {
		_ = cmd.Wait() // It may have been killed with its group.
	}
	_ = os.RemoveAll(g.dir) // The guard did it, if it was there.
}

// Guarded runs tests, and ends what they gave to [Guard] and removes what they left in temporary
// folders when this process ends, however that ends. It returns what run returns.
func Guarded(run func() int) int {
	g, err := startGuard()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer g.end()
	guarding.Store(g)
	return run()
}

// Guard makes a program, before it starts, end with this process, however that ends and
// even if the program is stopped.
func Guard(cmd *exec.Cmd) {
	g := guarding.Load()
	if g == nil {
		panic("TestMain must call loadertest.Main, Within or Guarded")
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pgid = true, g.group
}
