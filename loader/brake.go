package loader

import (
	"fmt"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// brake stops a run that would reject more rows than are allowed: that is what a wrong spelling
// in the config looks like. instead allows another number than the config, nil = it does not;
// command is what lets the rows pass.
func brake(src *config.Source, instead *config.MaxRejected, command string) func(*event.Tally, int64) error {
	allowed := allowed(src, instead)
	return func(rejects *event.Tally, fresh int64) error {
		fresh -= rejects.Of(event.Forgotten)
		if !allowed.Exceeded(rejects.Judged(), fresh) {
			return nil
		}
		mend := "Correct interactions.columns or the rows, or take away what the warehouse refuses them for; docs/rejects.md has each reason. "
		if rejects.Of(event.UnknownKind) > 0 {
			mend = "Correct the rows (docs/rejects.md has each reason), or interactions.columns, or " + src.Interactions.Kinds.Hint("") + "\n"
		}
		return fault.New(fault.Precondition, "rejecting %d of %s of source %q, more than max_rejected (%s): %s",
			rejects.Judged(), human.Count(fresh, "new row"), src.Nickname, allowed, rejects).
			WithHint("Nothing of this page was sent or recorded. %sIf these rows are to be rejected, let them pass once: %s", mend, command)
	}
}

func allowed(src *config.Source, instead *config.MaxRejected) config.MaxRejected {
	if instead != nil {
		return *instead
	}
	return src.MaxRejected
}

// brake is brake for the session's run, which then warns at its end if more was rejected nevertheless.
//
// That is what Segment refused. When that is known the rest of its page was sent: to stop before the page
// is recorded would send it again with each run. So the rejects are recorded with it, and the run
// goes on, for a refusal counts only if others are accepted beside it.
func (s *session) brake(instead *config.MaxRejected, command string) func(*event.Tally, int64) error {
	s.allowed = new(allowed(s.src, instead))
	return brake(s.src, instead, command)
}

// warnTooMany tells that more rows were rejected than are allowed, by a run that was not stopped.
func (s *session) warnTooMany() {
	rejected := s.rejects.Judged()
	fresh := s.end.Counters.Sent + s.end.Counters.Rejected - s.rejects.Of(event.Forgotten)
	if s.allowed == nil || s.end.Status != ledger.RunSucceeded || !s.allowed.Exceeded(rejected, fresh) {
		return
	}
	s.log.Warn("Segment refused so many rows that more than max_rejected were rejected; all others were sent",
		"rejected", rejected, "new_rows", fresh, "max_rejected", s.allowed.String(), "remedy",
		"look at what Segment said, mend the rows, then: candu-loader rejects retry "+human.Quote(s.src.Nickname)+" --reason "+string(event.RefusedBySegment))
}

// runAnyway is the command that lets the rejects of a run pass.
func runAnyway(src *config.Source) string {
	return fmt.Sprintf("candu-loader run %s --max-rejected 100%%", human.Quote(src.Nickname))
}
