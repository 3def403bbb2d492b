package ledger

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/queries"
)

// identities returns who a reject is about, "" where it does not say.
func identities(interaction []byte) (user, anonymous string) {
	var row map[string]json.RawMessage
	if json.Unmarshal(interaction, &row) != nil {
		return "", ""
	}
	plain := func(raw json.RawMessage) string {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw) // A number.
		}
		if text == "null" && string(raw) == "null" {
			return ""
		}
		return strings.TrimSpace(text)
	}
	return plain(row[event.UserID]), plain(row[event.AnonymousID])
}

// instead stands where a text named somebody.
const instead = "(forgotten)"

// telling reports whether a value is long enough that a text which has it is about the person: what is shorter
// is looked for in their own rows alone.
func telling(value string) bool { return len(value) >= 6 }

// without returns a text without a value, unless that is a part of a longer word or number: user-1 is not
// user-12.
func without(text, value string) string {
	word := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, value)
		if !found {
			b.WriteString(text)
			return b.String()
		}
		last, _ := utf8.DecodeLastRuneInString(before)
		next, _ := utf8.DecodeRuneInString(after)
		b.WriteString(before)
		if word(last) || word(next) {
			b.WriteString(value)
		} else {
			b.WriteString(instead)
		}
		text = after
	}
}

// rejects takes the identity out of the rejects.
func (e *eraser) rejects(ctx context.Context) error {
	for page, err := range e.AllRejects(ctx, "") {
		if err != nil {
			return err
		}
		var p queries.ForgetRejectsParams
		for i := range page {
			if r, changed := e.eraseReject(page[i]); changed {
				p.InteractionIds, p.Details = append(p.InteractionIds, rejectKey(r.InteractionID)), append(p.Details, r.Detail)
				p.Interactions = append(p.Interactions, r.Interaction)
			}
		}
		if len(p.InteractionIds) == 0 {
			continue
		}
		err := e.fenced(ctx, "erasing somebody from the rejects", func(tx pgx.Tx) error {
			n, err := e.q.ForgetRejects(ctx, tx, p)
			if err == nil {
				e.out.Rows.Rejects += n
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eraseReject returns a reject without what names the person, and whether anything did. Of their own rows what
// Segment and the warehouse said goes too: nobody knows what they quote.
func (e *eraser) eraseReject(r Reject) (Reject, bool) {
	user, anonymous := identities(r.Interaction)
	own := has(e.wanted, user, anonymous)
	before := r
	if own {
		if bare, err := event.WithoutIdentity(r.Interaction); err == nil {
			r.Interaction = bare
		}
		if event.Reason(r.Reason).Stays() {
			r.Detail = "what was said of it went with the person's identity"
		}
	}
	for _, value := range e.values() {
		switch {
		case telling(value):
			r.Detail, r.Interaction = without(r.Detail, value), withoutText(r.Interaction, value)
		case own && strings.Contains(r.Detail, value):
			r.Detail = instead
		}
	}
	return r, own || r.Detail != before.Detail || string(r.Interaction) != string(before.Interaction)
}

// withoutText takes a value out of the other texts of a row, but for its id.
func withoutText(interaction json.RawMessage, value string) json.RawMessage {
	var row map[string]json.RawMessage
	if json.Unmarshal(interaction, &row) != nil {
		return interaction
	}
	changed := false
	for name, raw := range row {
		var text string
		if json.Unmarshal(raw, &text) != nil || slices.Contains([]string{"id", event.UserID, event.AnonymousID}, name) {
			continue
		}
		if bare := without(text, value); bare != text {
			row[name], _ = json.Marshal(bare) // A text is JSON.
			changed = true
		}
	}
	if !changed {
		return interaction
	}
	bare, _ := json.Marshal(row) // It was JSON.
	return bare
}

// errors takes what names the person out of the errors of runs.
func (e *eraser) errors(ctx context.Context, tx pgx.Tx) error {
	texts := slices.DeleteFunc(e.values(), func(value string) bool { return !telling(value) })
	runs, err := e.q.RunsSaying(ctx, tx, texts)
	if err != nil {
		return err
	}
	var p queries.ForgetErrorsParams
	for _, run := range runs {
		text := run.Error
		for _, value := range texts {
			text = without(text, value)
		}
		if text != run.Error {
			p.Ids, p.Errors = append(p.Ids, run.ID), append(p.Errors, text)
		}
	}
	if len(p.Ids) > 0 {
		e.out.Rows.Runs, err = e.q.ForgetErrors(ctx, tx, p)
	}
	return err
}

// values are all that is to be erased.
func (e *eraser) values() []string {
	return slices.Concat(e.wanted[event.UserID], e.wanted[event.AnonymousID])
}
