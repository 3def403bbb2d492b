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
	kill    = newPoints(os.Getenv("CANDU_FAILPOINT_KILL"))
	stop    = newPoints(os.Getenv("CANDU_FAILPOINT_STOP"))
	without = strings.Split(os.Getenv("CANDU_FAILPOINT_WITHOUT"), ",")
)

// point is the n-th time that the process comes by a place.
type point struct {
	place string
	left  atomic.Int64
}

type points []*point

// newPoints reads "place:n,place:n".
func newPoints(text string) (all points) {
	for one := range strings.SplitSeq(text, ",") {
		place, count, _ := strings.Cut(one, ":")
		p := &point{place: place}
		if n, err := strconv.ParseInt(count, 10, 64); err == nil {
			p.left.Store(n)
		}
		all = append(all, p)
	}
	return all
}

func (all points) reached(name string) (here bool) {
	for _, p := range all {
		here = name == p.place && p.left.Add(-1) == 0 || here
	}
	return here
}

// At kills the process at the place of $CANDU_FAILPOINT_KILL ("place:n"), as nothing can be
// caught, and stops it at those of $CANDU_FAILPOINT_STOP ("place:n,place:n", each counted by
// itself), until somebody sends it SIGCONT.
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
