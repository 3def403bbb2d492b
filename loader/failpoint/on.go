//go:build failpoint

// Package failpoint lets the torture suite kill the loader at named places, and switch
// off one of its safeguards to see that the suite notices. Only a build with the tag failpoint does
// so; in every other build it is nothing at all.
package failpoint

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	place, count, _ = strings.Cut(os.Getenv("CANDU_FAILPOINT_KILL"), ":")
	left            = func() *atomic.Int64 {
		var n atomic.Int64
		if times, err := strconv.ParseInt(count, 10, 64); err == nil {
			n.Store(times)
		}
		return &n
	}()
	without = strings.Split(os.Getenv("CANDU_FAILPOINT_WITHOUT"), ",")
)

// At kills the process when it comes by the place of $CANDU_FAILPOINT_KILL
// ("place:n") for the n-th time, as nothing can be caught.
func At(name string) {
	if name == place && left.Add(-1) == 0 {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// Without reports whether the safeguard stands in $CANDU_FAILPOINT_WITHOUT.
func Without(name string) bool { return slices.Contains(without, name) }
