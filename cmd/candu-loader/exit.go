package main

import (
	"cmp"
	"fmt"
	"syscall"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
)

// The exit codes are a contract with cron jobs and container platforms.
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitPrecondition = 3
	exitDifference   = 4
	exitBusy         = 5
	// signalBase and the signal's number: 130 for SIGINT, 143 for SIGTERM.
	signalBase = 128
)

// exitCode is the one place that turns kinds of errors into exit codes. Of several
// errors the gravest decides: what is interrupted, then what an operator must mend, then
// what failed.
func exitCode(err error, caught syscall.Signal) int {
	if err == nil {
		return exitDone
	}
	kinds := map[fault.Kind]bool{}
	for _, e := range flatten(err) {
		kinds[fault.KindOf(e)] = true
	}
	switch {
	case kinds[fault.Interrupted]:
		return signalBase + int(cmp.Or(caught, syscall.SIGINT))
	case kinds[fault.Config]:
		return exitUsage
	case kinds[fault.Precondition]:
		return exitPrecondition
	case kinds[fault.Failed], kinds[fault.Retryable]:
		return exitFailed
	case kinds[fault.Difference]:
		return exitDifference
	}
	return exitBusy
}

// flatten returns the errors that errors.Join put together.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}

// named says which one of several sources an error is about.
func named(nickname string, sources []*config.Source, err error) error {
	if err == nil || len(sources) == 1 {
		return err
	}
	return fmt.Errorf("source %q: %w", nickname, err)
}

// usage is wrong usage of the command that was called.
func (a *app) usage(format string, args ...any) error {
	return fault.New(fault.Config, "%s", fmt.Sprintf(format, args...)).WithHint("%s --help", a.command)
}
