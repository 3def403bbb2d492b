package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// besideEvery is how often a verification that is due looks whether the run under way has ended.
const besideEvery = 2 * time.Second

var errVerifiesElsewhere = errors.New("another loader verifies by now")

// verifier verifies one source by its verify.schedule, one replica at a time, and never begins beside a run
// of the source. A run whose slot comes meanwhile does not wait: a verification reads, holds no lease, and
// goes up to the watermark as it was when it began. What passed while nobody served is made up for
// once.
type verifier struct {
	*Scheduler
	src *config.Source
	log *slog.Logger
}

// loop verifies until ctx is done.
func (v *verifier) loop(ctx context.Context) {
	away, lastTrouble := time.Second, ""
	// Runs that are due as we begin go first, too.
	select {
	case <-ctx.Done():
	case <-time.After(v.behind):
	}
	for ctx.Err() == nil {
		wait, err := v.tick(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			away, lastTrouble = time.Second, ""
		default:
			wait, away = away, min(2*away, awayMost)
			// Once for each trouble. Of a schema that is not there the worker tells.
			if text := err.Error(); text != lastTrouble && !errors.Is(err, ledger.ErrNotMigrated) {
				lastTrouble = text
				v.log.Error("retrying: it could not be read when to verify", fault.Attrs(err)...)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// tick verifies if that is due and nothing stands in the way, and returns how long to wait before the
// next look.
func (v *verifier) tick(ctx context.Context) (time.Duration, error) {
	looking, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	turns, err := v.loader.Verifications(looking, v.src, v.holder)
	if err != nil {
		return 0, err
	}
	view, err := turns.Look(looking)
	if err != nil {
		return 0, err
	}
	next := v.src.Verify.Schedule.Next(view.Since)
	switch {
	case next.IsZero():
		return lookEvery, nil
	case next.Add(v.behind).After(view.Now):
		return min(next.Add(v.behind).Sub(view.Now), lookEvery), nil
	case view.Held:
		return lookEvery, nil
	case view.Busy:
		return besideEvery, nil
	}
	// One at a time: it costs both databases something.
	select {
	case v.verifying <- struct{}{}:
		defer func() { <-v.verifying }()
	case <-ctx.Done():
		return 0, nil
	}
	// The wait may have been long: what is under way now, Take asks itself. Its answer is awaited, for a turn
	// that nobody knows of would keep all others from verifying.
	claiming, cancel := claim(ctx)
	defer cancel()
	if taken, err := turns.Take(claiming, view); err != nil || !taken {
		return besideEvery, err
	}
	v.verify(ctx, turns, view.Now)
	return time.Millisecond, nil
}

// verify verifies. Slots up to done are done then; not if it was interrupted, for then whoever looks next
// begins.
func (v *verifier) verify(ctx context.Context, turns *ledger.Verifications, done time.Time) {
	verifying, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go keep(verifying, turns.Renew, func() { cancel(errVerifiesElsewhere) })
	v.log.Info("verifying")
	report, err := v.loader.Verify(verifying, v.src, loader.VerifyOptions{Scheduled: true})
	switch {
	case verifying.Err() != nil && ctx.Err() == nil:
		v.log.Warn("the verification was interrupted", "error", context.Cause(verifying))
		return
	case ctx.Err() != nil:
		v.log.Info("the verification was interrupted; it begins again later")
		v.write(ctx, func(ctx context.Context) error { return turns.End(ctx, nil) })
		return
	case err != nil:
		v.log.Error("verifying came to no verdict; it is tried again at the next slot", fault.Attrs(err)...)
		v.write(ctx, func(ctx context.Context) error { return v.loader.VerifyFailed(ctx, v.src, err) })
	case report.Proved && report.Rows == 0:
		v.log.Info("verified: nothing to prove", "seconds", report.Seconds)
	case report.Proved:
		v.log.Info("verified: no difference", "rows", report.Rows, "seconds", report.Seconds)
	default:
		v.log.Error("NOT proved: export and mirror differ", "remedy", "candu-loader verify "+v.src.Nickname)
	}
	v.write(ctx, func(ctx context.Context) error { return turns.End(ctx, &done) })
}

// write records how a verification ended.
func (v *verifier) write(ctx context.Context, do func(context.Context) error) {
	if err := write(ctx, do); err != nil {
		v.log.Warn("recording how a verification ended; it begins again", "error", err)
	}
}
