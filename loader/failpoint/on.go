//go:build failpoint

// Package failpoint lets the torture suite kill or stop the loader at named places, and switch
// off one of its safeguards to see that the suite notices. Only a build with the tag failpoint does
// so; in every other build it is nothing at all.
package failpoint

import (
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	kill    = newPoint(os.Getenv("CANDU_FAILPOINT_KILL"))
	stop    = newPoint(os.Getenv("CANDU_FAILPOINT_STOP"))
	without = strings.Split(os.Getenv("CANDU_FAILPOINT_WITHOUT"), ",")
)

// point is the n-th time that the process comes by a place.
type point struct {
	place string
	left  atomic.Int64
}

// newPoint reads "place:n".
func newPoint(text string) *point {
	place, count, _ := strings.Cut(text, ":")
	p := &point{place: place}
	if n, err := strconv.ParseInt(count, 10, 64); err == nil {
		p.left.Store(n)
	}
	return p
}

func (p *point) reached(name string) bool { return name == p.place && p.left.Add(-1) == 0 }

// At kills the process at the place of $CANDU_FAILPOINT_KILL ("place:n"), as nothing can be
// caught, and stops it at that of $CANDU_FAILPOINT_STOP, until somebody sends it SIGCONT.
func At(name string) {
	switch {
	case kill.reached(name):
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	case stop.reached(name):
		// The signal may reach another thread first, and this one must not pass meanwhile.
		goesOn := make(chan os.Signal, 1)
		signal.Notify(goesOn, syscall.SIGCONT)
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
		<-goesOn
		signal.Stop(goesOn)
	}
}

// Without reports whether the safeguard stands in $CANDU_FAILPOINT_WITHOUT.
func Without(name string) bool { return slices.Contains(without, name) }
