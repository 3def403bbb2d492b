package source

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/queries"
)

// A view may compute exported_at or id anew with each look: now(), coalesce(updated_at, now()),
// row_number(). Then the place of a row moves while it is read: pages bring the same rows for ever and
// never the others, or a row comes under another id, and so as another event.

// settled reports whether what is read stands in a table of this database, where a row's place changes only
// if somebody writes it.
func (t *Table) settled() bool { return t.kind == "r" || t.kind == "m" }

// Steady looks again at rows of a page, which again reads once more, and refuses an export in which the
// place of one moves by itself. A row that was exported again, or deleted, is none.
func (s *Source) Steady(ctx context.Context, page *Page, rows []*event.Interaction, again func(context.Context) (*Page, error)) error {
	if s.table.settled() {
		return nil
	}
	for _, row := range rows {
		if err := s.steady(ctx, page, row, again); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) steady(ctx context.Context, read *Page, row *event.Interaction, again func(context.Context) (*Page, error)) error {
	n, err := s.count(ctx, "looking at a row again", s.table.standing(row), 2)
	if err != nil || n > 0 {
		return err
	}
	page, err := again(ctx)
	if err != nil {
		return err
	}
	for _, other := range page.Rows {
		id := other.ID
		other.ID = row.ID
		if other == *row && !slices.ContainsFunc(read.Rows, func(r event.Interaction) bool { return r.ID == id }) {
			return s.idMoves(row.ID, id)
		}
	}
	moves, err := s.moves(ctx, row, func(r event.Interaction) time.Time { return r.ExportedAt })
	if err != nil || !moves {
		return err
	}
	return s.cursorMoves(row.ID)
}

// moves reports whether a time of a row is another one at each of two more looks.
func (s *Source) moves(ctx context.Context, row *event.Interaction, of func(event.Interaction) time.Time) (bool, error) {
	before := of(*row)
	for range 2 {
		page, err := s.ByID(ctx, []string{row.ID})
		if err != nil || len(page.Rows) == 0 {
			return false, err
		}
		// Of several with this id, which is another error's business, one that stayed says enough.
		if slices.ContainsFunc(page.Rows, func(r event.Interaction) bool { return of(r).Equal(before) }) {
			return false, nil
		}
		before = of(page.Rows[0])
	}
	return true, nil
}

func (s *Source) cursorMoves(id string) error {
	e := fault.New(fault.Precondition, "reading table %s: exported_at (%s) of row %q is another one at each look, so pages would bring such rows again and again, and never the ones behind them",
		s.table.Relation(), s.table.sanitized(colExportedAt), id)
	e.Err = ErrCursorMoves
	return e.WithHint("exported_at must stand in the row, set once when it is exported: a column with DEFAULT now(), for example. " +
		"In a view it must not be now(), nor fall back to it: take another column instead, or leave those rows out.")
}

func (s *Source) idMoves(id, other string) error {
	e := fault.New(fault.Precondition, "reading table %s: the row with id %q has id %q at the next look, so it would be sent again as another event", s.table.Relation(), id, other)
	e.Err = ErrIDMoves
	return e.WithHint("An id must stand in the row, and stay. In a view it must not be computed by row_number() or drawn by a function: take the key of the table behind it.")
}

// The causes of errors about an export whose rows do not stay where they are.
var (
	ErrCursorMoves = errors.New("the cursor moves")
	ErrIDMoves     = errors.New("the id moves")
	ErrTimeMoves   = errors.New("occurred_at moves")
)

// Again refuses an export that brings the same rows for the third time to one run, though their place
// does not move between two looks.
func (s *Source) Again(id string) error {
	e := fault.New(fault.Precondition, "reading table %s: rows that this run has read twice come again, row %q for one, each time with a later exported_at", s.table.Relation(), id)
	e.Err = ErrCursorMoves
	return e.WithHint("In a view, exported_at must not follow the clock (date_trunc('minute', now()), for example). If somebody exported the same rows three times meanwhile: run it again, " +
		"nothing is lost and nothing is sent twice.")
}

// moving finds what may be another value at each look in the text of a view.
var moving = regexp.MustCompile(`(?i)\b(row_number|rank|dense_rank|random|gen_random_uuid|uuid_generate_v\w+|nextval)\(`)

// Computed returns the functions in the text of a view that may give a row another id at each look. Whether the id
// is made of them can't be told.
func (s *Source) Computed(ctx context.Context) ([]string, error) {
	if s.table.kind != "v" {
		return nil, nil
	}
	text, err := ask(ctx, s, "reading the view", func(ctx context.Context, db queries.DBTX) (string, error) {
		return queries.New().ExportView(ctx, db, s.table.Relation())
	})
	var found []string
	for _, match := range moving.FindAllStringSubmatch(text, -1) {
		if name := strings.ToLower(match[1]) + "()"; !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found, err
}

// timesSteady compares occurred_at of all rows of a page with what again reads of them, and refuses an export in which
// that of one moves by itself: it is a part of the event's id, so each run would send the row as another event.
func (s *Source) timesSteady(ctx context.Context, page *Page, again func(context.Context) (*Page, error)) error {
	if s.table.settled() || s.table.kind == "p" && s.origin == "" || len(page.Rows) == 0 {
		return nil
	}
	other, err := again(ctx)
	if err != nil {
		return err
	}
	at := make(map[string]time.Time, len(page.Rows))
	for i := range page.Rows {
		at[page.Rows[i].ID] = page.Rows[i].OccurredAt
	}
	looks := 0
	for i := range other.Rows {
		row := &other.Rows[i]
		if before, read := at[row.ID]; !read || before.Equal(row.OccurredAt) {
			continue
		}
		if err := s.timeSteady(ctx, row); err != nil {
			return err
		}
		if looks++; looks == mostLooks {
			break // Somebody corrects them.
		}
	}
	return nil
}

// mostLooks is how many rows of which occurred_at became another one are looked at again.
const mostLooks = 10

// timeSteady refuses a row of which occurred_at is another one at each look.
func (s *Source) timeSteady(ctx context.Context, row *event.Interaction) error {
	moves, err := s.moves(ctx, row, func(r event.Interaction) time.Time { return r.OccurredAt })
	if err != nil || !moves {
		return err
	}
	e := fault.New(fault.Precondition, "reading table %s: occurred_at (%s) of row %q is another one at each look, and so each run would send the row again as another event",
		s.table.Relation(), s.table.sanitized(colOccurredAt), row.ID)
	e.Err = ErrTimeMoves
	return e.WithHint("occurred_at must stand in the row, and stay. In a view it must not be now(), nor fall back to it: take another column instead, or leave those rows out.")
}

// NewestSteady is Steady for some of the rows that were exported last, and looks again at occurred_at of all of them.
func (s *Source) NewestSteady(ctx context.Context, page *Page) error {
	n := len(page.Rows)
	if n == 0 {
		return nil
	}
	rows := []*event.Interaction{&page.Rows[0], &page.Rows[n/2], &page.Rows[n-1]}
	again := func(ctx context.Context) (*Page, error) { return s.Newest(ctx, n) }
	if err := s.Steady(ctx, page, slices.Compact(rows), again); err != nil {
		return err
	}
	return s.timesSteady(ctx, page, again)
}

// PageSteady is Steady for the last row of the page after from.
func (s *Source) PageSteady(ctx context.Context, from Cursor, page *Page) error {
	n := len(page.Rows)
	if n == 0 {
		return nil
	}
	return s.Steady(ctx, page, []*event.Interaction{&page.Rows[n-1]}, func(ctx context.Context) (*Page, error) { return s.Page(ctx, from) })
}

// TimesSteady looks again at occurred_at of all rows of the page after from.
func (s *Source) TimesSteady(ctx context.Context, from Cursor, page *Page) error {
	return s.timesSteady(ctx, page, func(ctx context.Context) (*Page, error) {
		again, limit := s.after(from), len(page.Rows)
		again.columns, again.limit = numKeys, &limit
		return s.page(ctx, again)
	})
}
