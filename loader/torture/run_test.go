//go:build unix

package torture_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// patience is how long a run may take.
func patience() time.Duration { return time.Duration(times(5, 30)) * time.Minute }

// run is one process of the loader.
type run struct {
	cmd     *exec.Cmd
	output  *loadertest.Log
	stopped chan struct{}
	ended   chan struct{}
	code    int // -1 if a signal ended it
}

func (w *world) start(t *testing.T, env ...string) *run {
	t.Helper()
	return w.command(t, []string{"run", "--first"}, env...)
}

func (w *world) command(t *testing.T, args []string, env ...string) *run {
	t.Helper()
	r := &run{
		cmd:    exec.Command(program, append([]string{"--config", w.config}, args...)...),
		output: &loadertest.Log{}, stopped: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	r.cmd.Env = append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = r.output, r.output
	loadertest.Guard(r.cmd)
	require.NoError(t, r.cmd.Start())
	go r.watch()
	t.Cleanup(func() {
		r.signal(t, syscall.SIGKILL)
		<-r.ended
	})
	return r
}

// watch follows the process: exec's own Wait does not tell that it was stopped.
func (r *run) watch() {
	defer close(r.ended)
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(r.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err == nil && status.Stopped():
			r.stopped <- struct{}{}
		default:
			r.code = status.ExitStatus()
			_ = r.cmd.Wait() // For the rest of its output.
			return
		}
	}
}

// wait returns the exit code, -1 if a signal ended it.
func (r *run) wait(t *testing.T) int {
	t.Helper()
	if !r.ends(patience()) {
		require.FailNow(t, fmt.Sprintf("waiting for %q to end; it said:\n%s", r.cmd.Args[1:], r.output))
	}
	return r.code
}

// ends waits for the run's end, but not for longer than limit, and reports whether it came.
func (r *run) ends(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.ended:
		return true
	case <-timer.C:
		return false
	}
}

// startStopped starts a run that has stopped by itself when it returns: at a named place, the
// n-th time that it comes by.
func (w *world) startStopped(t *testing.T, place string, n int, env ...string) *run {
	t.Helper()
	r := w.start(t, append(env, fmt.Sprintf("CANDU_FAILPOINT_STOP=%s:%d", place, n))...)
	r.stops(t)
	return r
}

// stops waits until the run has stopped by itself.
func (r *run) stops(t *testing.T) {
	t.Helper()
	limit := time.NewTimer(patience())
	defer limit.Stop()
	select {
	case <-r.stopped:
	case <-r.ended:
		require.FailNow(t, fmt.Sprintf("the run ended with %d before it stopped; it said:\n%s", r.code, r.output))
	case <-limit.C:
		require.FailNow(t, fmt.Sprintf("waiting for the run to stop; it said:\n%s", r.output))
	}
}

// goOn lets a run go on that was stopped.
func (r *run) goOn(t *testing.T) {
	t.Helper()
	r.signal(t, syscall.SIGCONT)
}

func (r *run) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	select {
	case <-r.ended:
		return // The process's number may be another's.
	default:
	}
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
}
