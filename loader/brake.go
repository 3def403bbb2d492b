package loader

import (
	"fmt"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

// brake stops a run that would reject more rows than are allowed: that is what a wrong spelling
// in the config looks like. instead allows another number than the config, nil = it does not;
// command is what lets the rows pass.
func brake(src *config.Source, instead *config.MaxRejected, command string) func(*event.Tally, int64) error {
	allowed := src.MaxRejected
	if instead != nil {
		allowed = *instead
	}
	return func(rejects *event.Tally, fresh int64) error {
		if !allowed.Exceeded(rejects.Rows(), fresh) {
			return nil
		}
		return fault.New(fault.Precondition, "rejecting %d of %s of source %q, more than max_rejected (%s): %s",
			rejects.Rows(), human.Count(fresh, "new row"), src.Nickname, allowed, rejects).
			WithHint("Nothing of this page was sent or recorded. Correct interactions.kinds, interactions.columns or the rows; docs/rejects.md has each reason. "+
				"If these rows are to be rejected, let them pass once: %s", command)
	}
}

// runAnyway is the command that lets the rejects of a run pass.
func runAnyway(src *config.Source) string {
	return fmt.Sprintf("candu-loader run %s --max-rejected 100%%", human.Quote(src.Nickname))
}
