package ledger

import (
	"context"
	"maps"
	"slices"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/queries"
)

// survey counts the rows that name the person, and finds by what other identities they are known. Those that
// are to be forgotten too are remembered.
func (e *eraser) survey(ctx context.Context) error {
	linked := map[string]bool{}
	e.out.Rows, e.out.OfOthers = ErasedRows{}, 0
	count := func(relation, user, anonymous string, n int64) {
		e.out.Rows.add(relation, n)
		switch {
		case e.Identity.Column == event.UserID && anonymous != "":
			linked[anonymous] = true
		case e.Identity.Column == event.AnonymousID && user != "":
			linked[user] = true
		}
		if e.Identity.Column == event.AnonymousID && user != "" || e.Identity.Column == event.UserID && user != "" && user != e.Identity.Value {
			e.out.OfOthers += n
		}
	}
	if err := e.eachRow(ctx, e.wanted, count); err != nil {
		return err
	}
	e.out.LinkedCount = len(linked)
	e.out.Linked = slices.Sorted(maps.Keys(linked))
	if len(linked) > 0 {
		if err := e.follow(ctx, count); err != nil {
			return err
		}
	}
	e.out.Linked = e.out.Linked[:min(len(e.out.Linked), listedLinks)]
	if e.run != nil {
		e.out.Rows = ErasedRows{} // Now they are counted as they are erased.
	}
	return nil
}

// follow looks where else the identities stand that were found beside the one to be forgotten, and takes
// them too where that is wanted.
func (e *eraser) follow(ctx context.Context, count func(relation, user, anonymous string, n int64)) error {
	other := event.AnonymousID
	if e.Identity.Column == event.AnonymousID {
		other = event.UserID
	}
	too := e.WithAnonymousIDs && other == event.AnonymousID
	if too && e.run != nil {
		var identities []event.Identity
		for _, value := range e.out.Linked {
			identities = append(identities, event.Identity{Column: other, Value: value})
		}
		if err := e.remember(ctx, identities...); err != nil {
			return err
		}
	}
	elsewhere := map[string][]string{event.UserID: {}, event.AnonymousID: {}}
	elsewhere[other] = e.out.Linked
	found := e.out.Linked
	err := e.eachRow(ctx, elsewhere, func(relation, user, anonymous string, n int64) {
		mine := user
		if e.Identity.Column == event.AnonymousID {
			mine = anonymous
		}
		switch {
		case mine == e.Identity.Value:
		case too:
			count(relation, user, anonymous, n)
		default:
			e.out.LinkedRows += n
		}
	})
	if too {
		e.wanted[other] = found
		e.out.Too, e.out.LinkedCount = len(found), 0
	}
	return err
}

// eachRow tells of the rows of mirror and rejects that have one of some identities, those that have the same ones together.
func (e *eraser) eachRow(ctx context.Context, of map[string][]string, tell func(relation, user, anonymous string, n int64)) error {
	err := e.eachPiece(ctx, func(ctx context.Context, after, last string) error {
		rows, err := ask(ctx, e.Ledger, "looking for somebody in the mirror", e.q.ForgetFind, queries.ForgetFindParams{
			After: after, Last: last, Blanks: event.Blanks, UserIds: of[event.UserID], AnonymousIds: of[event.AnonymousID],
		})
		for _, row := range rows {
			tell(row.Relation, row.UserID, row.AnonymousID, row.Rows)
		}
		return err
	})
	if err != nil {
		return err
	}
	for page, err := range e.AllRejects(ctx, "") {
		if err != nil {
			return err
		}
		for i := range page {
			user, anonymous := identities(page[i].Interaction)
			if has(of, user, anonymous) {
				tell("loader_rejects", user, anonymous, 1)
			}
		}
	}
	return nil
}

func has(of map[string][]string, user, anonymous string) bool {
	return slices.Contains(of[event.UserID], user) || slices.Contains(of[event.AnonymousID], anonymous)
}
