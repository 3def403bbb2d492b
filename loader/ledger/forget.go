package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/failpoint"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/queries"
)

// pieceOfMirror is how many rows of a table one statement looks at: well below its time limit.
const pieceOfMirror = 20_000

// Forgetting says whom to forget, and how.
type Forgetting struct {
	Identity event.Identity
	// WithAnonymousIDs forgets the anonymous ids too that rows have beside the user id.
	WithAnonymousIDs bool
	// Delete removes the rows; else they stay without identity.
	Delete bool
	// Rejected makes the reject that takes the place of a row that is deleted, so that every row of
	// the export is still in one place; interaction says what it was.
	Rejected func(id string, interaction bool, at *time.Time) (Rejected, error)
	// By is who asked for it.
	By string
	// Holder is how the holder of the leases is called.
	Holder string
}

// ErasedRows counts rows by the table that they stand in.
type ErasedRows struct {
	Screens             int64 `json:"screens"`
	Tracks              int64 `json:"tracks"`
	TutorialInteraction int64 `json:"tutorial_interaction"`
	Rejects             int64 `json:"loader_rejects"`
	// Runs are those whose error named the person.
	Runs int64 `json:"loader_runs"`
}

// Sum is how many there are.
func (r ErasedRows) Sum() int64 {
	return r.Screens + r.Tracks + r.TutorialInteraction + r.Rejects + r.Runs
}

func (r *ErasedRows) add(relation string, n int64) {
	switch relation {
	case "screens":
		r.Screens += n
	case "tracks":
		r.Tracks += n
	case "tutorial_interaction":
		r.TutorialInteraction += n
	default:
		r.Rejects += n
	}
}

// Forgotten is what was done to forget somebody, or would be.
type Forgotten struct {
	// Hash is what is remembered of them, nil if nothing is yet.
	Hash []byte
	// Before is true if they had been forgotten before.
	Before bool
	// At is when, by the warehouse's clock.
	At   time.Time
	Rows ErasedRows
	// Linked are the identities of the other column that their rows have, at most 1,000 of
	// LinkedCount; LinkedRows are other rows that have one of those. Where they were to be forgotten
	// too, they are Too of them, and the others 0.
	Linked      []string
	LinkedCount int
	LinkedRows  int64
	// Too is how many of these were forgotten beside the user id.
	Too int
	// OfOthers are those of the rows that name a user id which is not the one to be forgotten.
	OfOthers int64
}

// listedLinks bounds the identities that are listed.
const listedLinks = 1_000

// WouldForget counts what [Ledger.Forget] would do. It writes nothing, and takes no lease.
func (l *Ledger) WouldForget(ctx context.Context, f Forgetting) (Forgotten, error) {
	state, err := l.State(ctx)
	if err != nil {
		return Forgotten{}, err
	}
	e := &eraser{Ledger: l, Forgetting: f, wanted: wanted(f.Identity), out: Forgotten{At: state.Clock}}
	if state.ForgottenSalt != nil {
		e.out.Hash = f.Identity.Hash(state.ForgottenSalt)
		if e.out.Before, err = ask(ctx, l, "looking who was forgotten", l.q.ForgottenKnown, e.out.Hash); err != nil {
			return e.out, err
		}
	}
	return e.out, e.survey(ctx)
}

// Forget removes an identity from mirror and rejects, and remembers a salted hash of it, by which runs know the
// rows that they must not send. It holds the leases of run and backfill meanwhile, so that nobody is sending; if another
// has one, that is [fault.Busy]. What was interrupted goes on when it is called again.
func (l *Ledger) Forget(ctx context.Context, f Forgetting) (out Forgotten, err error) {
	run := &Run{leases: Repair.leases(), holder: cmp.Or(f.Holder, Holder())}
	run.ledger = l.named(run.holder)
	e := &eraser{Ledger: run.ledger, Forgetting: f, run: run, wanted: wanted(f.Identity)}
	if err := e.take(ctx); err != nil {
		return e.out, err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), RenewEvery)
		defer cancel()
		free := queries.LeasesFreeParams{Leases: run.leases, Tokens: run.tokens, Holder: run.holder}
		// If that fails they run out by themselves.
		_ = run.ledger.writing().inTx(last, "freeing the leases", func(tx pgx.Tx) error { return l.q.LeasesFree(last, tx, free) })
	}()
	group, held := errgroup.WithContext(ctx)
	keeping, stop := context.WithCancel(held)
	group.Go(func() error { return run.Keep(keeping) })
	group.Go(func() error {
		defer stop()
		return e.erase(held)
	})
	err = group.Wait()
	if err != nil && ctx.Err() != nil {
		err = fault.Wrap(fault.Interrupted, context.Cause(ctx), "forgetting somebody: what is left of them is erased when the command is run again")
	}
	return e.out, err
}

// eraser forgets one person.
type eraser struct {
	*Ledger
	Forgetting

	run *Run // nil = nothing is written.
	// wanted are the values to be erased, by their column.
	wanted map[string][]string
	hashes [][]byte
	out    Forgotten
}

func wanted(i event.Identity) map[string][]string {
	w := map[string][]string{event.UserID: {}, event.AnonymousID: {}}
	w[i.Column] = append(w[i.Column], i.Value)
	return w
}

// take takes the leases of a schema that is there and of this version.
func (e *eraser) take(ctx context.Context) error {
	if _, err := e.State(ctx); err != nil {
		return err
	}
	run, l := e.run, e.Ledger
	var row queries.LeasesTakeRow
	err := l.writing().inTx(ctx, "taking the leases", func(tx pgx.Tx) (err error) {
		if !failpoint.Without("takeover") {
			if err := l.q.SessionsEnd(ctx, tx, queries.SessionsEndParams{Leases: run.leases, Far: interval(2 * LeaseTTL)}); err != nil {
				return err
			}
		}
		row, err = l.q.LeasesTake(ctx, tx, queries.LeasesTakeParams{Leases: run.leases, Holder: run.holder, Ttl: leaseTTL(), Far: interval(2 * LeaseTTL)})
		if err == nil && row.Tokens == nil {
			return errHeld
		}
		return err
	})
	if errors.Is(err, errHeld) {
		return busy(l.id.Schema, cmp.Or(row.HeldName, run.leases[0]), cmp.Or(row.HeldBy, "another loader"), row.HeldSince)
	}
	run.tokens, e.out.At = row.Tokens, row.Clock
	return err
}

// erase remembers first and erases then, so that what is interrupted is never sent.
func (e *eraser) erase(ctx context.Context) error {
	if err := e.remember(ctx, e.Identity); err != nil {
		return err
	}
	failpoint.At("after_remember")
	if err := e.survey(ctx); err != nil {
		return err
	}
	if err := e.eachPiece(ctx, e.piece); err != nil {
		return err
	}
	failpoint.At("after_mirror")
	if err := e.rejects(ctx); err != nil {
		return err
	}
	return e.fenced(ctx, "noting who was forgotten", func(tx pgx.Tx) error {
		if err := e.errors(ctx, tx); err != nil {
			return err
		}
		if err := e.q.CommitDurably(ctx, tx); err != nil {
			return err
		}
		rows := e.out.Rows
		return e.q.ForgottenDone(ctx, tx, queries.ForgottenDoneParams{
			Hashes: e.hashes, First: e.out.Hash, Screens: rows.Screens, Tracks: rows.Tracks,
			TutorialInteraction: rows.TutorialInteraction, Rejects: rows.Rejects,
		})
	})
}

// fenced runs fn in a transaction that goes through only if the leases are ours.
func (e *eraser) fenced(ctx context.Context, doing string, fn func(tx pgx.Tx) error) error {
	return e.writing().inTx(ctx, doing, func(tx pgx.Tx) error {
		held, err := e.q.LeaseRenew(ctx, tx, queries.LeaseRenewParams{Ttl: leaseTTL(), Leases: e.run.leases, Tokens: e.run.tokens, Holder: e.run.holder})
		if err != nil {
			return err
		}
		if int(held) != len(e.run.leases) && !failpoint.Without("compare") {
			return takenOver(e.id.Schema)
		}
		return fn(tx)
	})
}

func takenOver(schema string) error {
	return fault.New(fault.Busy, "schema %q: another loader has taken over before all of somebody was erased", schema).
		WithHint("This process was paused or cut off for longer than %s. Run the command again: it goes on.", LeaseTTL)
}

// remember stores the hashes of identities, for good.
func (e *eraser) remember(ctx context.Context, identities ...event.Identity) error {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // It never fails.
	var hashes [][]byte
	err := e.fenced(ctx, "remembering who is forgotten", func(tx pgx.Tx) (err error) {
		if err := e.q.CommitDurably(ctx, tx); err != nil {
			return err
		}
		if salt, err = e.q.ForgottenSalt(ctx, tx, salt); err != nil {
			return err
		}
		hashes = nil
		var columns []string
		for _, i := range identities {
			hashes, columns = append(hashes, i.Hash(salt)), append(columns, i.Column)
		}
		if e.out.Hash == nil {
			e.out.Before, err = e.q.ForgottenKnown(ctx, tx, hashes[0])
		}
		if err != nil {
			return err
		}
		_, err = e.q.ForgottenPut(ctx, tx, queries.ForgottenPutParams{Hashes: hashes, Identities: columns, ForgottenBy: e.By})
		return err
	})
	if err != nil {
		return err
	}
	if e.out.Hash == nil {
		e.out.Hash = hashes[0]
	}
	e.hashes = append(e.hashes, hashes...)
	return nil
}

// eachPiece goes through the mirror, a piece at a time.
func (e *eraser) eachPiece(ctx context.Context, do func(ctx context.Context, after, last string) error) error {
	for after := ""; ; {
		last, err := ask(ctx, e.Ledger, "reading the mirror", e.q.ForgetPiece, queries.ForgetPieceParams{After: after, Count: pieceOfMirror})
		if err != nil || last == "" {
			return err
		}
		if err := do(ctx, after, last); err != nil {
			return err
		}
		after = last
	}
}

// piece erases, or deletes, those rows of a piece that name the person.
func (e *eraser) piece(ctx context.Context, after, last string) error {
	var erased ErasedRows
	err := e.fenced(ctx, "erasing somebody from the mirror", func(tx pgx.Tx) error {
		erased = ErasedRows{}
		if e.Delete {
			return e.deletePiece(ctx, tx, after, last, &erased)
		}
		row, err := e.q.ForgetErase(ctx, tx, queries.ForgetEraseParams{
			After: after, Last: last, Blanks: event.Blanks, UserIds: e.wanted[event.UserID], AnonymousIds: e.wanted[event.AnonymousID],
		})
		erased = ErasedRows{Screens: row.Screens, Tracks: row.Tracks, TutorialInteraction: row.TutorialInteraction}
		return err
	})
	if err != nil {
		return err
	}
	e.out.Rows.Screens += erased.Screens
	e.out.Rows.Tracks += erased.Tracks
	e.out.Rows.TutorialInteraction += erased.TutorialInteraction
	failpoint.At("after_piece")
	return nil
}

// deletePiece deletes the rows, and puts rejects in their place.
func (e *eraser) deletePiece(ctx context.Context, tx pgx.Tx, after, last string, erased *ErasedRows) error {
	rows, err := e.q.ForgetDelete(ctx, tx, queries.ForgetDeleteParams{
		After: after, Last: last, Blanks: event.Blanks, UserIds: e.wanted[event.UserID], AnonymousIds: e.wanted[event.AnonymousID],
	})
	if err != nil {
		return err
	}
	var rejected []Rejected
	for _, row := range rows {
		erased.add(row.Relation, 1)
		// Rows of Segment's own connector have no row in the export.
		if row.InteractionID == "" || row.Relation == interactions.name {
			continue
		}
		r, err := e.Rejected(row.InteractionID, row.Relation == tracks.name, row.At)
		if err != nil {
			return err
		}
		rejected = append(rejected, r)
	}
	run, err := e.q.RunLast(ctx, tx)
	if err != nil || run == 0 || len(rejected) == 0 {
		return err
	}
	return e.q.RejectsPut(ctx, tx, rejects(rejected, run))
}

// Number is how a receipt is called: the beginning of the hash.
func (f Forgotten) Number() string {
	if f.Hash == nil {
		return ""
	}
	return fmt.Sprintf("%.12s", hex.EncodeToString(f.Hash))
}
