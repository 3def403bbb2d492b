package preflight

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/lineage"
)

// identity looks whether schema, write key, export and configuration are those of the runs before. It
// returns why a run would refuse the schema.
func (c *checker) identity(ctx context.Context, book *ledger.Ledger, state ledger.State) error {
	const hint = "Give all machines that run this source the same configuration: schedule, lookback, table, columns and kinds, for example."
	now := time.Now()
	if !state.Clock.IsZero() {
		now = state.Clock
	}
	switch configs, here := state.Configs, lineage.Hash(c.Source); {
	case configs.Alternate(now):
		c.add(LevelWarning, "config_alternates", hint, "%s", configs.Words())
	case configs.Hash != "" && configs.Hash != here && configs.Before == here:
		c.add(LevelWarning, "config_alternates", hint,
			"the configuration here is the one before the last run's, which came from host %s: two machines may have different ones", configs.Host)
	case configs.Hash != "" && configs.Hash != here:
		c.add(LevelInfo, "config_changed", "", "the last run, on host %s, had another configuration of this source", configs.Host)
	}
	if err := state.CheckStart(c.exportClock); err != nil {
		c.trouble("start_at_ahead", err)
	}
	for _, change := range lineage.Changes(c.Source, state) {
		c.add(LevelWarning, change.Code, change.Hint, "%s", change.Text)
	}
	if err := book.Confirm(ctx); err != nil {
		return err
	}
	switch gone, remedy, err := c.SameExport(ctx); {
	case fault.Is(err, fault.Config):
		c.trouble("timezone_differs", err)
	case errors.Is(err, lineage.ErrShared):
		c.trouble("export_shared", err)
	case errors.Is(err, lineage.ErrShifted):
		c.trouble("occurred_at_shifted", err)
	case err != nil:
		c.trouble("export_other", err)
	case gone != "":
		c.add(LevelWarning, "export_behind", strings.ToUpper(remedy[:1])+remedy[1:]+".", "%s", gone)
	}
	return nil
}
