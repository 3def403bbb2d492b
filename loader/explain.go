package loader

import (
	"context"
	"errors"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/pages"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/trace"
)

// Explain tells the life of one row, by its id or by its event's messageId. It
// writes nothing. An id that is nowhere is a [fault.Precondition].
//
// Without the export it tells what the ledger knows.
func (l *Loader) Explain(ctx context.Context, src *config.Source, id string) (trace.Explanation, error) {
	none := trace.Explanation{Source: src.Nickname, Schema: src.Schema, Asked: id, InteractionID: id}
	book, state, err := l.migrated(ctx, src)
	c := trace.Config{Source: src, Ledger: book, State: state, Migrated: true}
	switch {
	case errors.Is(err, ledger.ErrAbsent):
		c.Migrated, c.State.MessageNamespace = false, src.MessageNamespace
	case err != nil:
		return none, err
	}
	c.ReadsFrom = pages.Start(c.State, src.Lookback)
	if c.Export, c.ExportError = l.source(ctx, src); c.ExportError == nil {
		defer c.Export.Close()
		table := c.Export.Table()
		if err := lineage.ConfirmZone(src.Schema, state, table.UsedZone()); err != nil {
			return none, err // It would name an event that was never sent.
		}
		c.ReadsFrom = pages.Start(c.State, lineage.Lookback(src, table, state.WatermarkAt))
		c.Encoder = segment.NewEncoder(src.Integrations)
		c.Rules = rules(src, table, c.State, c.Encoder)
	}
	return trace.Row(ctx, c, id)
}
