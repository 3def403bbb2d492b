package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/queries"
)

// Verdict is what a verification comes to.
type Verdict string

// The verdicts, "" before the first one.
const (
	Proved         Verdict = "proved"
	NothingToProve Verdict = "nothing to prove"
	NotProved      Verdict = "not proved"
)

// Gone is the class of rows that were pruned in the export, which alone keeps nothing from being proved.
const Gone = "gone"

// Verified is a verification that came to a verdict.
type Verified struct {
	// At is when it began, by the warehouse's clock.
	At      time.Time
	Verdict Verdict
	// From and To are the range of occurred_at, nil = open; UpTo is the watermark that it went up to.
	From, To, UpTo *time.Time
	// Differences counts rows by class, without those of which there are none.
	Differences map[string]int64
	// Quick is true if it did not compare contents.
	Quick bool
}

// Proof is what is known of export = mirror + rejects, as it is stored.
type Proof struct {
	// Verdict is the last one that counts, "" if there is none; CheckedAt is when that verification began.
	Verdict   Verdict    `json:"verdict,omitempty"`
	CheckedAt *time.Time `json:"checked_at,omitempty"`
	// From is where it began, by occurred_at, nil = at the beginning; UpTo is the watermark that it went up
	// to. While it is not proved From is where that was found, and does not move on.
	From *time.Time `json:"from,omitempty"`
	UpTo *time.Time `json:"up_to,omitempty"`
	// Differences counts rows by class.
	Differences map[string]int64 `json:"differences,omitempty"`
	// ProvedAt is when it was last proved, whatever came after.
	ProvedAt *time.Time `json:"proved_at,omitempty"`
	// FailedAt and Error are of a verification of the schedule that came to no verdict; nil and "" since one did.
	FailedAt *time.Time `json:"failed_at,omitempty"`
	Error    string     `json:"error,omitempty"`
}

// covers reports whether the verification looked at all that is exported of what occurred since from,
// nil = ever.
func (v *Verified) covers(from *time.Time) bool {
	return v.To == nil && (v.From == nil || from != nil && !v.From.After(*from))
}

// Next returns the proof after a verification; false = that changes nothing. What looked at less than
// the last while of the schedule proves nothing of the source, and what looked at less than the one that
// found a difference, or did not compare contents, neither ends nor replaces it. A difference counts wherever it was found. now is the warehouse's
// clock.
func (p Proof) Next(v Verified, now time.Time, last time.Duration) (Proof, bool) {
	differs := v.Verdict == NotProved
	if !differs && (v.Quick || !v.covers(new(v.At.Add(-last)))) {
		return p, false
	}
	if p.Verdict == NotProved && (v.Quick || !v.covers(p.From)) {
		return p, false
	}
	// A clock in the future was put back since.
	if later := p.CheckedAt != nil && p.CheckedAt.After(v.At) && !p.CheckedAt.After(now); later {
		within := p.From == nil || v.From != nil && !v.From.Before(*p.From)
		if !differs || within {
			return p, false
		}
	}
	next := Proof{Verdict: v.Verdict, CheckedAt: &v.At, From: v.From, UpTo: v.UpTo, Differences: v.Differences, ProvedAt: p.ProvedAt}
	if v.Verdict == Proved {
		next.ProvedAt = &v.At
	}
	if p.FailedAt != nil && p.FailedAt.After(v.At) && !p.FailedAt.After(now) {
		next.FailedAt, next.Error = p.FailedAt, p.Error
	}
	return next, true
}

// Failed returns the proof after a verification that came to no verdict, which changes none.
func (p Proof) Failed(at time.Time, err error) Proof {
	p.FailedAt, p.Error = &at, err.Error()
	return p
}

// proofOf reads what is stored. What can't be read is not known.
func proofOf(stored []byte) (p Proof) {
	if json.Unmarshal(stored, &p) != nil || p.Verdict != "" && p.CheckedAt == nil || p.Verdict == Proved && p.UpTo == nil {
		return Proof{}
	}
	return p
}

// KeepProof stores what change makes of the proof, unless it is about something else than at the state that
// the verification began with, or change says false. clock is the warehouse's.
func (l *Ledger) KeepProof(ctx context.Context, began State, change func(before Proof, clock time.Time) (Proof, bool)) (kept bool, err error) {
	for {
		row, err := ask(ctx, l, "reading the state", plain(l.q.StateGet), struct{}{})
		if err != nil {
			return false, err
		}
		after, changed := change(proofOf(row.LoaderState.Proof), row.Clock)
		if !changed || row.LoaderState.ProofEpoch != began.ProofEpoch {
			return false, nil
		}
		text, err := json.Marshal(after)
		if err != nil {
			return false, err
		}
		swapped, err := ask(ctx, l.writing(), "recording the proof", l.q.ProofSwap, queries.ProofSwapParams{
			Before: row.LoaderState.Proof, After: text, Epoch: began.ProofEpoch,
		})
		if err != nil || swapped == 1 {
			return swapped == 1, err
		}
	}
}

// Verifications lets one of several replicas verify, for one holder. It is safe for concurrent use.
type Verifications struct {
	ledger *Ledger
	holder string
}

// Verifications returns whose turn it is to verify, for a holder, see [Holder].
func (l *Ledger) Verifications(holder string) *Verifications {
	return &Verifications{ledger: l.writing(), holder: holder}
}

// VerificationsView is what the next slot of verify.schedule is computed from.
type VerificationsView struct {
	// Since is up to when slots are done.
	Since time.Time
	// Held is true while a replica verifies, Busy while a run or a backfill is under way.
	Held, Busy bool
	// Now is the database's clock.
	Now time.Time
}

// Look reads where the schedule stands. Slots count from the first look.
func (v *Verifications) Look(ctx context.Context) (VerificationsView, error) {
	for {
		row, err := ask(ctx, v.ledger, "reading when to verify", v.ledger.q.VerifyLook, interval(2*LeaseTTL))
		if err != nil {
			return VerificationsView{}, err
		}
		if row.VerifySlot != nil && !row.VerifySlot.After(row.Now) {
			return VerificationsView{Since: *row.VerifySlot, Held: row.Held, Busy: row.Busy, Now: row.Now}, nil
		}
		if err := v.ledger.inTx(ctx, "setting when to verify", func(tx pgx.Tx) error { return v.ledger.q.VerifyBegin(ctx, tx) }); err != nil {
			return VerificationsView{}, err
		}
	}
}

// Take begins a verification for [LeaseTTL] if nobody did since view was read, and no run is under way.
func (v *Verifications) Take(ctx context.Context, view VerificationsView) (bool, error) {
	taken, err := ask(ctx, v.ledger, "beginning to verify", v.ledger.q.VerifyTake, queries.VerifyTakeParams{
		Holder: v.holder, Slot: view.Since, Ttl: leaseTTL(), Far: interval(2 * LeaseTTL),
	})
	return taken == 1, err
}

// Renew keeps it for the holder; false if another has it by now.
func (v *Verifications) Renew(ctx context.Context) (bool, error) {
	held, err := ask(ctx, v.ledger, "going on verifying", v.ledger.q.VerifyRenew, queries.VerifyRenewParams{Holder: v.holder, Ttl: leaseTTL()})
	return held == 1, err
}

// End ends it: slots up to a moment are done. nil leaves them to whoever looks next. Nothing happens if
// another has it by now.
func (v *Verifications) End(ctx context.Context, done *time.Time) error {
	return v.ledger.inTx(ctx, "ending a verification", func(tx pgx.Tx) error {
		return v.ledger.q.VerifyEnd(ctx, tx, queries.VerifyEndParams{Slot: done, Holder: v.holder})
	})
}
