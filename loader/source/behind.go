package source

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// under is a relation that a view takes the place of a row from, with its own names of the columns.
type under struct {
	relation
	ordered, id string
	// virtual is true if one of the two is computed at each look, so that no index can be made of it.
	virtual bool
	// far is true if it is a foreign table, or has partitions that are.
	far bool
	// unique is true if an index keeps the id unique there, canBeUnique if a constraint can.
	unique, canBeUnique bool
}

// behindOf follows id and a time column down: reads is the relation that pages really read, holds the table
// that rows are stored in; nil where the two columns are not columns of one relation.
func (s *Source) behindOf(ctx context.Context, t *Table, column int) (reads, holds *under, err error) {
	rows, err := asking(ctx, s.try, "looking for what is behind the columns", func(ctx context.Context, db queries.DBTX) ([]queries.ExportBehindRow, error) {
		return queries.New().ExportBehind(ctx, db, queries.ExportBehindParams{Relation: t.Relation(), Ordered: t.Columns[column].Name, ID: t.Columns[colID].Name})
	})
	if postgres.Denied(err) {
		return nil, nil, nil // It only means a worse remedy.
	}
	var ids, ordered []queries.ExportBehindRow
	for _, row := range rows {
		switch {
		case row.Relkind == "v":
		case row.Canonical == "id":
			ids = append(ids, row)
		default:
			ordered = append(ordered, row)
		}
	}
	for i := range min(len(ids), len(ordered)) {
		id, at := ids[i], ordered[i]
		if id.Name != at.Name {
			break
		}
		u := &under{
			relation: relation{id.Name, id.Relkind}, id: pgx.Identifier{id.ColumnName}.Sanitize(), ordered: pgx.Identifier{at.ColumnName}.Sanitize(),
			virtual: id.Generated == "v" || at.Generated == "v", far: id.IsFar || id.Relkind == "f",
		}
		if reads == nil {
			reads = u
		}
		if u.kind != "m" {
			holds = u
		}
	}
	return reads, holds, err
}

// lookBehind notes what is behind a view; behind anything else is nothing.
func (s *Source) lookBehind(ctx context.Context, t *Table) (err error) {
	if t.kind != "v" && t.kind != "m" {
		return nil
	}
	if t.reads, t.holds, err = s.behindOf(ctx, t, colExportedAt); err != nil || t.reads == nil || t.kind != "v" {
		return err
	}
	rows, err := asking(ctx, s.try, "looking for the columns behind the view", func(ctx context.Context, db queries.DBTX) ([]queries.ExportColumnsRow, error) {
		return queries.New().ExportColumns(ctx, db, t.reads.name)
	})
	if postgres.Denied(err) {
		return nil
	}
	for _, row := range rows {
		if (pgx.Identifier{row.Name}).Sanitize() == t.reads.id {
			t.reads.unique, t.reads.canBeUnique, t.virtualID = row.IsUnique, row.CanBeUnique, row.IsVirtual
		}
	}
	return err
}

// KeyBehind reports whether the id of a view is a column that an index keeps unique where it comes from. A view may
// still give a row twice.
func (t *Table) KeyBehind() bool { return t.kind == "v" && t.reads != nil && t.reads.unique }

// inOrder reports whether the planner can read a page of the export in its order without sorting.
func (s *Source) inOrder(ctx context.Context) (bool, error) {
	sql, args := s.table.pageSelect(s.table.columnList(numColumns), Cursor{}, s.config.PageSize)
	var text string
	err := s.read(ctx, "planning a page", func(ctx context.Context, db postgres.DB) error {
		conn, ok := db.(interface {
			Begin(ctx context.Context) (pgx.Tx, error)
		})
		if !ok {
			return nil
		}
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			// Else a small table is scanned and sorted.
			if _, err := tx.Exec(ctx, "set local enable_seqscan = off; set local enable_bitmapscan = off", pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "explain (format json) "+sql, args...).Scan(&text)
		})
	})
	return text != "" && !strings.Contains(text, `Sort"`), err
}
