package loader_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// finding returns what check says under a code, "" if nothing.
func (w *world) finding(t *testing.T, code string) string {
	t.Helper()
	for _, f := range w.loader(t).Check(t.Context(), w.cfg.Sources[0], true) {
		if f.Code == code {
			return fmt.Sprintf("%s: %s\nhint: %s", f.Level, f.Text, f.Hint)
		}
	}
	return ""
}

// A year too far was "succeeded: 0 rows", for ever.
func TestStartAt_BeyondTheExportsClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "start_at: 2062-01-02"})
	w.plain(t)
	w.insert(t, 1, time.Now().Add(-time.Hour))

	_, err := w.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, "start_at 2062-01-02T00:00:00Z lies after the export's clock")
	require.Equal(t, fault.Config, fault.KindOf(err))
	require.Equal(t, "NULL", w.one(t, "select to_regnamespace('candu_test')"), "nothing was made")
	_, err = w.loader(t).PreviewRun(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
	require.Equal(t, fault.Config, fault.KindOf(err))
	require.Contains(t, w.finding(t, "start_at_ahead"), "error: start_at 2062-01-02T00:00:00Z lies after")

	// An older version stored it, and mending the config changed nothing.
	_, err = w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{Create: true})
	require.NoError(t, err)
	w.made = true
	w.exec(t, "update candu_test.loader_state set start_at = '2062-01-02', watermark_at = '2062-01-02'")
	w.cfg.Sources[0].StartAt = config.StartAt{}
	_, err = w.try(t, loader.RunOptions{})
	require.ErrorContains(t, err, "the first run began at 2062-01-02T00:00:00Z, which lies after the export's clock")
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.Contains(t, fault.HintOf(err), "candu-loader migrate Candu_Test --start-at")
	require.Contains(t, w.finding(t, "start_at_ahead"), "error: the first run began at 2062")
	_, err = w.loader(t).PreviewRun(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
	require.Equal(t, fault.Precondition, fault.KindOf(err))

	_, err = w.loader(t).Migrate(t.Context(), w.cfg.Sources[0], ledger.MigrateOptions{SetStart: true})
	require.NoError(t, err)
	require.Empty(t, w.finding(t, "start_at_ahead"))
	require.EqualValues(t, 1, w.run(t).Sent)
}

// A start_at that was mended after the first run counted for nothing, without a word.
func TestStartAt_ChangedAfterTheFirstRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "start_at: 2026-02-01"})
	w.plain(t)
	day := func(month int) time.Time { return time.Date(2026, time.Month(month), 15, 0, 0, 0, 0, time.UTC) }
	for month := 1; month <= 4; month++ {
		w.insert(t, month, day(month))
	}
	src := w.cfg.Sources[0]
	set := func(at config.StartAt) {
		t.Helper()
		src.StartAt = at
		_, err := w.loader(t).Migrate(t.Context(), src, ledger.MigrateOptions{SetStart: true})
		require.NoError(t, err)
		require.Empty(t, w.finding(t, "start_at_changed"))
	}
	require.Empty(t, w.finding(t, "start_at_changed"))
	require.EqualValues(t, 3, w.run(t).Sent)
	require.Empty(t, w.finding(t, "start_at_changed"))

	for _, earlier := range []config.StartAt{{}, {At: day(1)}} {
		src.StartAt, w.log = earlier, loadertest.Log{}
		require.Contains(t, w.finding(t, "start_at_changed"), "rows exported between the two are not loaded\nhint: candu-loader migrate Candu_Test --start-at")
		require.Zero(t, w.run(t).Sent)
		require.Contains(t, w.log.String(), "rows exported between the two are not loaded")
	}
	set(config.StartAt{At: day(1)})
	require.EqualValues(t, 1, w.run(t).Sent, "what the mirror has is not sent again")
	w.settled(t, "candu_interactions", "id")

	// A later one leaves out what nobody has read.
	w.insert(t, 5, day(5))
	w.insert(t, 6, day(6))
	src.StartAt = config.StartAt{At: day(6)}
	require.Contains(t, w.finding(t, "start_at_changed"), "--start-at   leaves them out")
	set(src.StartAt)
	require.EqualValues(t, 1, w.run(t).Sent)
	require.Equal(t, "2026-06-15 00:00:00+00", w.one(t, "select start_at at time zone 'UTC' || '+00' from candu_test.loader_state"))

	// Back to the beginning.
	src.StartAt = config.StartAt{}
	require.NotEmpty(t, w.finding(t, "start_at_changed"))
	set(src.StartAt)
	require.EqualValues(t, 1, w.run(t).Sent)
	w.settled(t, "candu_interactions", "id")

	// now says nothing about when: the first run decided.
	src.StartAt = config.StartAt{Now: true}
	require.Contains(t, w.finding(t, "start_at_changed"), "start_at is now, but the first run began at beginning")
	_, err := w.loader(t).Migrate(t.Context(), src, ledger.MigrateOptions{SetStart: true})
	require.Equal(t, fault.Config, fault.KindOf(err))
}

func TestStartAt_NowStaysQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{source: "start_at: now"})
	w.plain(t)
	w.run(t)
	w.run(t)
	require.Empty(t, w.finding(t, "start_at_changed"))
	require.NotContains(t, w.log.String(), "start_at")
	src := w.cfg.Sources[0]
	src.StartAt = config.StartAt{}
	require.Contains(t, w.finding(t, "start_at_changed"), "start_at is beginning, but the first run began at 20")
}

// Rows that were sent stay as they were read then, whatever columns and kinds say now.
func TestMapping_ChangedAfterARun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, "alter table candu_interactions add column uid text default 'x'")
	src := w.cfg.Sources[0]
	w.insert(t, 1, time.Now().Add(-time.Hour))
	w.run(t)
	require.Empty(t, w.finding(t, "mapping_changed"))

	src.Interactions.Columns = map[string]string{"id": "id"}
	require.Empty(t, w.finding(t, "mapping_changed"), "it says what goes without saying")
	src.Interactions.Columns["user_id"] = "uid"
	require.Contains(t, w.finding(t, "mapping_changed"), `warning: user_id is read from column "uid", until now from "user_id"`)
	src.Interactions.Kinds = config.Kinds{View: []string{"seen"}, Interaction: []string{"interaction", "view"}}
	require.Contains(t, w.finding(t, "mapping_changed"), `; kind "seen" means view, until now nothing; kind "view" means interaction, until now view`)
	src.Interactions.Kinds = config.Kinds{View: []string{"view"}, Interaction: []string{"interaction"}}
	w.run(t)
	require.Contains(t, w.log.String(), `user_id is read from column \"uid\", until now from \"user_id\": rows that were sent or rejected before stay as they were`)
	require.Empty(t, w.finding(t, "mapping_changed"), "it was said, and is what counts")

	src.Interactions.Columns, src.Interactions.Kinds = nil, config.Kinds{ByEventName: true}
	found := w.finding(t, "mapping_changed")
	require.Contains(t, found, `user_id is read from column "user_id", until now from "uid"; kinds is by_event_name`)
	require.Contains(t, found, "hint: candu-loader rejects retry Candu_Test")
	require.Equal(t, string(preflight.LevelWarning), found[:7])
}

// Two sources with one write key are one for Segment.
func TestWriteKey_Shared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.run(t)
	require.Empty(t, w.finding(t, "write_key_shared"))
	require.NotContains(t, w.log.String(), "same write key")
	other := *w.cfg.Sources[0]
	other.Nickname = "Candu_Other"
	w.cfg.Sources = append(w.cfg.Sources, &other)
	require.Contains(t, w.finding(t, "write_key_shared"), "warning: the write key is that of source Candu_Other too")
	w.run(t)
	require.Contains(t, w.log.String(), "another source has the same write key")
}

// One export under one write key is refused, however the URLs are written; another table, or another key, is none.
func TestWriteKey_SharedWithTheExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	w.run(t)
	first, other := w.cfg.Sources[0], *w.cfg.Sources[0]
	other.Nickname, other.Schema = "Candu_Other", "candu_other"
	other.Interactions.URL += "&application_name=otherwise"
	w.cfg.Sources = append(w.cfg.Sources, &other)
	require.Empty(t, w.finding(t, "export_shared"), "the other one never ran")
	_, err := w.loader(t).Run(t.Context(), &other, loader.RunOptions{First: true})
	require.True(t, fault.Is(err, fault.Precondition), "%v", err)
	require.ErrorContains(t, err, `sources "Candu_Other" and "Candu_Test" have the same write key, and read the same export`)
	_, err = w.try(t, loader.RunOptions{})
	require.True(t, fault.Is(err, fault.Precondition), "%v", err)
	require.Contains(t, w.finding(t, "export_shared"), "error: ")

	w.exec(t, "create view elsewhere as select * from candu_interactions where false")
	other.Interactions.Table.Name = "elsewhere"
	_, err = w.loader(t).Run(t.Context(), &other, loader.RunOptions{NewExport: true})
	require.NoError(t, err)
	_, err = w.try(t, loader.RunOptions{})
	require.NoError(t, err)
	other.Interactions.Table, other.WriteKey = first.Interactions.Table, "another"
	w.run(t)
	require.Empty(t, w.finding(t, "export_shared"))
}

func TestURL_ParametersWithoutEffectAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	w.plain(t)
	url := secret.URL(w.url + "&gssencmode=disable&keepalives=1")
	w.cfg.Warehouse.URL, w.cfg.Warehouse.MigrateURL, w.cfg.Sources[0].Interactions.URL = url, url, url
	w.run(t)
	require.Contains(t, w.log.String(), `parameters="gssencmode, keepalives"`)
	require.Contains(t, w.finding(t, "export_url_parameters"), "warning: export: parameters of the URL that the driver lacks, and that have no effect: gssencmode, keepalives")
	require.NotEmpty(t, w.finding(t, "warehouse_url_parameters"))
}
