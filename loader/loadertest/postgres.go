//go:build unix

// Package loadertest has what tests, the demo and benchmarks need: a throw-away
// Postgres, sample exports, and a fake Segment in process. The programs never import
// it.
package loadertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoPostgres means that this machine has no Postgres programs.
var ErrNoPostgres = errors.New("no Postgres programs (initdb, postgres) on this machine: run `make setup`, or set $CANDU_TEST_DATABASE_URL to the superuser's URL of a server that may be filled with rubbish")

// Options say what server is wanted.
type Options struct {
	// TCP makes it listen on a port of 127.0.0.1 too.
	TCP bool
	// Settings are further settings, "name=value".
	Settings []string
	// Durable keeps fsync on, for tests that kill it.
	Durable bool
}

// Server is a Postgres that nobody else uses. It lives in a directory of its own,
// listens on a socket in there, and ends with this process, however that ends.
type Server struct {
	dir     string
	bin     string
	port    int
	options Options
	log     *os.File // has no name, so it can't be left behind
	process *exec.Cmd
	hold    io.Closer
	given   string // the URL of $CANDU_TEST_DATABASE_URL
}

// Start makes a server and waits until it answers. With $CANDU_TEST_DATABASE_URL set it
// starts none, and the URL's server serves; tests that stop the server need one of their own.
func Start(ctx context.Context, options Options) (*Server, error) {
	if given := os.Getenv("CANDU_TEST_DATABASE_URL"); given != "" && !options.TCP && !options.Durable && len(options.Settings) == 0 {
		return &Server{given: given}, nil
	}
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	return start(ctx, &Server{bin: bin, options: options}, nil)
}

// start makes a server's directory and runs it; fill, if not nil, makes its files.
func start(ctx context.Context, s *Server, fill func() error) (*Server, error) {
	// Not os.TempDir: macOS' is too long for a socket's path, and a private one of
	// root's is closed to the server's user.
	dir, err := os.MkdirTemp("/tmp", "candu-pg-")
	if err != nil {
		return nil, fmt.Errorf("making the server's directory: %w", err)
	}
	s.dir = dir
	err = s.initialize()
	if err == nil && fill != nil {
		err = fill()
	}
	if err == nil {
		err = s.launch(ctx)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// initialize makes the server's log and chooses its port.
func (s *Server) initialize() (err error) {
	if s.log, err = os.CreateTemp("", "candu-pg-log-"); err != nil {
		return fmt.Errorf("making the server's log: %w", err)
	}
	if err := os.Remove(s.log.Name()); err != nil {
		return fmt.Errorf("making the server's log: %w", err)
	}
	if s.options.TCP {
		if s.port, err = freePort(); err != nil {
			return err
		}
	}
	return s.own(s.dir)
}

// lifetime makes the server's files, runs it, and ends it when our end of its standard
// input closes, which it does even if we are killed. Programs in the background get /dev/null
// as their input, hence the third descriptor. A server that begins ignores the signal.
const lifetime = `exec 3<&0
[ -e "$DIR/data/PG_VERSION" ] ||
	"$BIN/initdb" -D "$DIR/data" -U postgres --auth=trust --no-sync --encoding=UTF8 --no-locale 3<&- ||
	{ rm -rf "$DIR"; exit 1; }
"$@" 3<&- & p=$!
(cat <&3 >/dev/null; while kill -QUIT $p; do sleep 1; done) 2>/dev/null &
wait $p
[ -e "$DIR/keep" ] || rm -rf "$DIR"`

// launch starts the server on its directory.
func (s *Server) launch(ctx context.Context) error {
	args := []string{"-c", lifetime, "sh", filepath.Join(s.bin, "postgres"), "-D", filepath.Join(s.dir, "data"),
		"-k", s.dir, "-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "max_wal_size=4GB", "-c", "log_min_messages=fatal",
		"-c", "max_prepared_transactions=10", "-c", "checkpoint_timeout=30min"}
	if s.port != 0 {
		args = append(args, "-p", strconv.Itoa(s.port), "-h", "127.0.0.1")
	} else {
		args = append(args, "-h", "")
	}
	if !s.options.Durable {
		args = append(args, "-F", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	for _, setting := range s.options.Settings {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "DIR="+s.dir, "BIN="+s.bin)
	cmd.Dir = s.dir
	cmd.Stdout, cmd.Stderr = s.log, s.log
	hold, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("holding the server: %w", err)
	}
	s.demote(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	s.process, s.hold = cmd, hold
	return s.await(ctx)
}

// await waits until the server answers.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres", "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the server: %w: %s", err, s.Log())
		case <-tick.C:
			if _, err := os.Stat(s.dir); err != nil {
				return fmt.Errorf("starting the server: it ended at once: %s", s.Log())
			}
		}
	}
}

// Log returns what the server logged, which is little unless Settings want more.
func (s *Server) Log() string {
	if s.log == nil {
		return ""
	}
	text, _ := io.ReadAll(io.NewSectionReader(s.log, 0, math.MaxInt64)) // Only to explain.
	return string(text)
}

// URL returns the URL of a database for a user.
func (s *Server) URL(database, username string) string {
	if s.given != "" {
		u, err := url.Parse(s.given)
		if err != nil {
			return s.given
		}
		u.Path = "/" + database
		if username != "postgres" {
			u.User = url.User(username)
		}
		return u.String()
	}
	if s.port != 0 {
		return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", username, s.port, database)
	}
	return fmt.Sprintf("postgres:///%s?host=%s&user=%s", database, s.dir, username)
}

// Address returns host and port, for proxies; "" without Options.TCP.
func (s *Server) Address() string {
	if s.port == 0 {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// Stop ends the server and removes its directory.
func (s *Server) Stop() {
	if s.given != "" {
		return
	}
	s.end()
	_ = os.RemoveAll(s.dir) // The guard did it, unless the server was down.
	if s.log != nil {
		_ = s.log.Close()
	}
}

// end kills the server by letting go of it. Every connection breaks, and nothing
// is written any more.
func (s *Server) end() {
	if s.process == nil {
		return
	}
	_ = s.hold.Close()
	_ = s.process.Wait() // It was killed.
	s.process = nil
}

// Crash kills the server as a power cut would, and starts it again on the same
// directory and address.
func (s *Server) Crash(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.Restart(ctx)
}

// Kill kills the server as a power cut would; its directory stays. Without
// [Options.Durable] what was committed last may be gone.
func (s *Server) Kill() error {
	if s.given != "" {
		return errors.New("killing a server that was given: $CANDU_TEST_DATABASE_URL is set")
	}
	if err := os.WriteFile(s.keep(), nil, 0o600); err != nil {
		return fmt.Errorf("keeping the directory: %w", err)
	}
	s.end()
	return nil
}

// Restart starts a server that was killed, on the same directory and address.
func (s *Server) Restart(ctx context.Context) error {
	if s.given != "" || s.process != nil {
		return errors.New("starting a server that runs")
	}
	if err := os.Remove(s.keep()); err != nil {
		return fmt.Errorf("releasing the directory: %w", err)
	}
	return s.launch(ctx)
}

// keep is the file that tells the guard to leave the directory.
func (s *Server) keep() string { return filepath.Join(s.dir, "keep") }

// demote runs a program as the server's user, for Postgres refuses to run as
// root.
func (s *Server) demote(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return
	}
	if uid, gid, ok := serverUser(); ok {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
}

func (s *Server) own(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	uid, gid, ok := serverUser()
	if !ok {
		return errors.New("finding a user to run Postgres as: neither postgres nor nobody exists")
	}
	return os.Chown(dir, int(uid), int(gid))
}

func serverUser() (uid, gid uint32, ok bool) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		userID, err1 := strconv.ParseUint(u.Uid, 10, 32)
		groupID, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return uint32(userID), uint32(groupID), true
		}
	}
	return 0, 0, false
}

// programs finds the directory of initdb and postgres.
func programs() (string, error) {
	var dirs []string
	if dir := os.Getenv("PGBIN"); dir != "" {
		dirs = append(dirs, dir)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		"/opt/homebrew/bin", "/usr/local/pgsql/bin", "/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		slices.SortFunc(found, func(a, b string) int { return strings.Compare(b, a) }) // newest first
		dirs = append(dirs, found...)
	}
	for _, dir := range dirs {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", ErrNoPostgres
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

func freePort() (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
