package source

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
)

// errRetyped is the cause of an error about a column that came as another type than the table had.
var errRetyped = errors.New("the table changed")

const changedHint = "The table changed while it was read, and nothing of this page was taken. Run it again: that looks at the table anew."

// changed reports whether an error may come of a table that is not what it was when it was looked at: of
// another type, without a column, not there. What a function behind it lacks is none of these.
func changed(err error) bool {
	switch postgres.Code(err) {
	case "42703", "42P01", "3F000", // no such column, table, schema
		"42883", "42804", "42846", // no such operator, not of that type, no such cast
		"0A000": // "cached plan must not change result type"
		return postgres.Context(err) == ""
	}
	return errors.Is(err, errRetyped)
}

// lookAgain looks at the table again after an error. If it is another one now, and one that is read on from where
// the one before was, the source reads that one. If it is none that [Open] takes, its error says why.
func (s *Source) lookAgain(ctx context.Context, because error) error {
	now, origin, _, err := s.lookAt(ctx)
	if err != nil {
		return err
	}
	was := s.table
	changes := was.changes(now)
	switch why := was.goesOnAs(now); {
	case why != "":
		return &fault.Error{Kind: fault.Failed, Text: why, Err: because, Hint: changedHint}
	case len(changes) == 0 && postgres.Code(because) != "0A000":
		return because
	}
	s.table, s.origin = now, origin
	s.config.Log.Warn("the table changed while it was read, and is read on as it is now", "table", now.Relation(), "columns", strings.Join(changes, ", "))
	return nil
}

// changes names the columns that have another type now.
func (t *Table) changes(now *Table) (names []string) {
	for i, column := range now.Columns {
		if column != t.Columns[i] {
			names = append(names, column.Name+": "+t.Columns[i].Type+" is "+column.Type)
		}
	}
	return names
}

// goesOnAs says why a table that was read in part is not read on as what it is now, "" if it is: the order of ids, by
// which pages are cut, and what of a row decides about its messageId stay, and so does what others have been told of the table.
func (t *Table) goesOnAs(now *Table) string {
	order := func(t *Table) int {
		return slices.IndexFunc([][]uint32{integerTypes, textTypes}, func(oids []uint32) bool { return slices.Contains(oids, t.Columns[colID].oid) })
	}
	switch {
	case order(t) != order(now):
		return "ids are in another order now, so that rows might be passed over"
	case t.Columns[colExportedAt].zoned() != now.Columns[colExportedAt].zoned(), t.Columns[colOccurredAt].zoned() != now.Columns[colOccurredAt].zoned():
		return "times are with a time zone where they were without, or the other way round, so that they may be others now"
	case t.kind != now.kind:
		return "another kind of relation stands there now"
	case t.UniqueID && !now.UniqueID:
		return "nothing keeps ids unique now"
	}
	return ""
}
