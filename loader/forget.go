package loader

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// ForgetOptions says whom to forget.
type ForgetOptions struct {
	// UserID or AnonymousID, one of the two.
	UserID, AnonymousID string
	// WithAnonymousIDs forgets the anonymous ids too that the user's rows have.
	WithAnonymousIDs bool
	// DryRun changes nothing; Delete removes the rows, which else stay without identity.
	DryRun, Delete bool
	// By is who asked for it.
	By string
}

// Receipt says what was done to forget somebody, and what remains with others. All but Remains and Linked
// names nobody.
type Receipt struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Number is the beginning of what is remembered, "" if nothing is yet.
	Number string    `json:"number"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	// Identity is the column that named them: user_id or anonymous_id.
	Identity string `json:"identity"`
	DryRun   bool   `json:"dry_run"`
	Deleted  bool   `json:"deleted"`
	// Before is true if they had been forgotten before.
	Before bool              `json:"forgotten_before"`
	Rows   ledger.ErasedRows `json:"rows"`
	// Anonymous is how many anonymous ids were forgotten beside the user id.
	Anonymous int `json:"anonymous_ids"`
	// OfOthers are those of the rows that name another user id too.
	OfOthers int64 `json:"rows_of_other_users"`
	// Linked are identities of the other column that stood in their rows, LinkedCount in all, and stand in LinkedRows
	// other rows. With those that were forgotten too, these are the anonymous ids.
	Linked      []string `json:"linked"`
	LinkedCount int      `json:"linked_count"`
	LinkedRows  int64    `json:"linked_rows"`
	// Unsure is why the export could not be asked how it spells the identity, "" if it could.
	Unsure  string      `json:"unsure,omitempty"`
	Remains []Remaining `json:"remains"`
}

// Remaining is what others still have.
type Remaining struct {
	Where string `json:"where"`
	What  string `json:"what"`
	// Command does something about it, "" if there is none.
	Command string `json:"command,omitempty"`
}

// Forget erases somebody from mirror and rejects, and remembers a hash of who it was, so that no run,
// backfill, repair or retry sends a row of theirs again. It waits until none of these is under way. The export is
// not needed, and not changed.
func (l *Loader) Forget(ctx context.Context, src *config.Source, opts ForgetOptions) (Receipt, error) {
	column, value := event.UserID, opts.UserID
	if opts.UserID == "" {
		column, value = event.AnonymousID, opts.AnonymousID
	}
	receipt := Receipt{Source: src.Nickname, Schema: src.Schema, Identity: column, By: opts.By, DryRun: opts.DryRun, Deleted: opts.Delete, Linked: []string{}, Remains: []Remaining{}}
	book, _, err := l.migrated(ctx, src)
	if err != nil {
		return receipt, err
	}
	spec := source.Spec{Schema: src.Interactions.Table.Schema, Table: src.Interactions.Table.Name, Columns: src.Interactions.Columns}
	statement := spec.EraseStatement
	if export, err := l.source(ctx, src); err == nil {
		value, statement = export.Table().Identity(column, value), export.Table().EraseStatement
		export.Close()
	} else {
		receipt.Unsure = err.Error()
	}
	identity, ok := event.IdentityOf(column, value)
	if !ok {
		return receipt, fault.New(fault.Config, "forgetting somebody whose %s is blank", column)
	}
	f := ledger.Forgetting{
		Identity: identity, WithAnonymousIDs: opts.WithAnonymousIDs, Delete: opts.Delete, By: opts.By, Holder: ledger.Holder(), Rejected: stub(src),
	}
	var done ledger.Forgotten
	if opts.DryRun {
		done, err = book.WouldForget(ctx, f)
	} else {
		err = l.await(ctx, src, l.turns.patience, func() (err error) {
			done, err = book.Forget(ctx, f)
			if fault.Is(err, fault.Busy) {
				_ = book.Want(ctx, f.Holder) // Trouble here costs a turn.
			}
			return err
		})
	}
	receipt.Number, receipt.Before, receipt.At, receipt.Rows = done.Number(), done.Before, done.At, done.Rows
	receipt.Anonymous, receipt.OfOthers = done.Too, done.OfOthers
	receipt.LinkedCount, receipt.LinkedRows = done.LinkedCount, done.LinkedRows
	receipt.Linked = append(receipt.Linked, done.Linked...)
	receipt.Remains = remaining(src, identity, receipt, statement)
	return receipt, err
}

// stub makes the reject that takes the place of a row that was deleted.
func stub(src *config.Source) func(id string, interaction bool, at *time.Time) (ledger.Rejected, error) {
	kinds := src.Interactions.Kinds
	return func(id string, interaction bool, at *time.Time) (ledger.Rejected, error) {
		row := map[string]any{"id": id}
		if at != nil {
			row["occurred_at"] = at.UTC().Format(time.RFC3339Nano)
		}
		switch {
		case kinds.ByEventName && interaction:
			row["event_name"] = "(forgotten)"
		case kinds.ByEventName:
		case interaction:
			row["kind"] = slices.Concat(kinds.Interaction, []string{"interaction"})[0]
		default:
			row["kind"] = slices.Concat(kinds.View, []string{"view"})[0]
		}
		object, err := json.Marshal(row)
		return ledger.Rejected{
			InteractionID: id, Reason: event.Forgotten, Detail: "it was sent, and deleted from the mirror as somebody was forgotten", Interaction: object,
		}, err
	}
}

// remaining lists what others have of somebody. Where anonymous ids were forgotten too, they are erased there in the same way.
func remaining(src *config.Source, who event.Identity, r Receipt, statement func(column string, values ...string) string) []Remaining {
	erase, ask := statement(who.Column, who.Value), regulation(who.Column, who.Value)
	if r.Anonymous > 0 {
		erase += "\n" + statement(event.AnonymousID, r.Linked...)
		ask += "\n" + regulation(event.AnonymousID, r.Linked...)
	}
	schema := pgx.Identifier{src.Schema}.Sanitize()
	remains := []Remaining{
		{"export", "candu-loader only reads it. Erase there as well, with a role that may write", erase},
		{
			"Segment", "what it received, and what it passed on to destinations. Ask for deletion, with a token of its Public API; it takes up to 30 days, " +
				"and Segment vouches for no destination", ask,
		},
		{
			"Segment's warehouses", "Segment's own connector may have loaded the events into a warehouse, in tables of the same layout. That request deletes in those that " +
				"are connected; look whether it did, and after copies made of them, dbt models for one", "",
		},
		{
			"this warehouse", "the bytes stay in dead rows until vacuum, and in WAL, replicas and backups until these are gone. After a backup is restored, forget again",
			fmt.Sprintf("VACUUM %[1]s.tracks, %[1]s.tutorial_interaction, %[1]s.screens, %[1]s.loader_rejects, %[1]s.loader_runs;", schema),
		},
		{"logs", "candu-loader writes no identity into its log but what Segment or a server said of a row; look through those that were kept", ""},
	}
	if who.Column == event.AnonymousID || r.Anonymous > 0 {
		remains[1].What += ". Where the workspace can't delete by anonymous id, its support can"
	}
	return remains
}

// regulation is the call of Segment's Public API that asks for deletion
// (https://docs.segmentapis.com/tag/Deletion-and-Suppression, https://segment.com/docs/privacy/user-deletion-and-suppression/).
func regulation(column string, values ...string) string {
	subject := map[string]string{event.UserID: "USER_ID", event.AnonymousID: "ANONYMOUS_ID"}[column]
	body, _ := json.Marshal(map[string]any{"regulationType": "SUPPRESS_WITH_DELETE", "subjectType": subject, "subjectIds": values}) // Texts are JSON.
	return `curl -X POST https://api.segmentapis.com/regulations -H "Authorization: Bearer $SEGMENT_TOKEN" -H 'Content-Type: application/vnd.segment.v1+json' -d ` +
		human.Quote(string(body))
}
