package loader_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
	"github.com/candu-loader/candu-loader/loader/preflight"
)

// newYork is an export whose times have no zone, and are New York's.
func newYork(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, settings{})
	w.plain(t)
	w.exec(t, "alter table candu_interactions alter exported_at type timestamp, alter occurred_at type timestamp")
	w.cfg.Sources[0].Interactions.Zone = "America/New_York"
	return w
}

func (w *world) local(t *testing.T, id int, at string) {
	t.Helper()
	w.exec(t, "insert into candu_interactions (id, kind, user_id, tutorial_id, occurred_at, exported_at) values ($1, 'view', 'u', 1, $2::text::timestamp, $2::text::timestamp)", id, at)
}

// Rows that come after clocks were put back lie below a watermark of the hour before.
func TestRun_LateRowsOfTheHourThatComesTwice(t *testing.T) {
	t.Parallel()
	w := newYork(t)
	w.local(t, 1, "2026-11-01 01:50")
	require.EqualValues(t, 1, w.run(t).Sent)
	require.Equal(t, "2026-11-01 06:50:00+00", w.one(t, "select timestamp at time zone 'UTC' || '+00' from candu_test.screens"))
	// As a run would have left it at 01:50:30, before the change.
	w.exec(t, "update candu_test.loader_state set watermark_at = '2026-11-01 05:50:30+00', watermark_id = null")
	w.local(t, 2, "2026-11-01 01:10")
	w.local(t, 3, "2026-11-01 01:02")
	require.EqualValues(t, 2, w.run(t).Sent)
	w.settled(t, "candu_interactions", "id")
	report, err := w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
	require.NoError(t, err)
	require.Zero(t, report.Missing.Rows)

	// check judges what a run reads.
	for id, c := range map[int]struct{ watermark, at, fresh, reads string }{
		4: {"2026-11-01 05:50:30+00", "2026-11-01 00:50", "1 is", "true"},
		5: {"2026-11-01 07:00:00+00", "2026-11-01 01:20", "none is", "false"}, // 40 minutes late, by any clock.
	} {
		w.exec(t, "update candu_test.loader_state set watermark_at = $1::text::timestamptz, watermark_id = null", c.watermark)
		w.exec(t, "delete from candu_interactions where tutorial_id is null")
		w.local(t, id, c.at)
		w.exec(t, "update candu_interactions set tutorial_id = null where id = $1", id)
		require.Contains(t, w.check(t)["rows_rejected"].Text, "of the newest 4 rows "+c.fresh+" new to a run", c.at)
		require.Equal(t, c.reads, w.one(t, "select $1::boolean", w.explain(t, strconv.Itoa(id)).Selection.NextRunReadsIt), c.at)
		require.Equal(t, c.reads, w.one(t, "select $1::bigint > 0", w.run(t).Rejected), c.at)
	}
}

// The zone is part of every messageId: another one is refused, whatever version loaded first.
func TestRun_AnotherZone(t *testing.T) {
	t.Parallel()
	w := newYork(t)
	w.cfg.Sources[0].Interactions.Zone = "UTC"
	w.local(t, 1, "2026-06-01 12:00")
	found := w.check(t)["timestamp_without_time_zone"]
	require.Equal(t, preflight.LevelWarning, found.Level)
	require.Contains(t, found.Text, "it is read as of UTC, by interactions.timezone; the server's zone is ")
	w.run(t)
	require.Equal(t, "UTC", w.one(t, "select export_zone from candu_test.loader_state"))
	for _, stored := range []string{"'UTC'", "null"} { // null: by an older version.
		w.exec(t, "update candu_test.loader_state set export_zone = "+stored)
		w.cfg.Sources[0].Interactions.Zone = "America/New_York"
		_, err := w.loader(t).Run(t.Context(), w.cfg.Sources[0], loader.RunOptions{})
		require.ErrorContains(t, err, `interactions.timezone "America/New_York" differs from the one that schema "candu_test" was loaded with, "UTC"`)
		require.True(t, fault.Is(err, fault.Config))
		require.Contains(t, fault.HintOf(err), "timezone: UTC")
		require.Equal(t, preflight.LevelError, w.check(t)["timezone_differs"].Level)
		_, err = w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
		require.ErrorContains(t, err, "differs")
		_, err = w.loader(t).Explain(t.Context(), w.cfg.Sources[0], "1")
		require.ErrorContains(t, err, "differs")
		w.cfg.Sources[0].Interactions.Zone = "UTC"
		require.Zero(t, w.run(t).Sent)
	}
	require.Equal(t, "UTC", w.one(t, "select export_zone from candu_test.loader_state"))
	// Of times with a zone it decides nothing.
	w.exec(t, "alter table candu_interactions alter exported_at type timestamptz using exported_at at time zone 'UTC', alter occurred_at type timestamptz using occurred_at at time zone 'UTC'")
	w.cfg.Sources[0].Interactions.Zone = "America/New_York"
	require.Zero(t, w.run(t).Sent)
	require.Equal(t, time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC).Format(time.DateTime), w.one(t, "select timestamp at time zone 'UTC' from candu_test.screens"))
}

// A change of the type of occurred_at converts by the zone of whoever makes it. What that shifts is refused before it is
// sent again, and the remedy puts it right; in UTC nothing is shifted.
func TestRun_RefusesTimesThatATypeChangeShifted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, to string }{
		"to a time without a zone": {"", "timestamp"},
		"to a time with a zone":    {"alter table candu_interactions alter occurred_at type timestamp", "timestamptz"},
		"of one of two":            {"alter table candu_interactions alter exported_at type timestamp", "timestamp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{source: "lookback: 1h\n"})
			w.sample(t, loadertest.Export{Rows: 200})
			w.exec(t, "update candu_interactions set exported_at = now() - interval '10 minutes' + id * interval '1 ms'")
			if c.before != "" {
				w.exec(t, c.before)
			}
			require.EqualValues(t, 200, w.run(t).Sent)
			w.exec(t, "set timezone to 'UTC'; alter table candu_interactions alter occurred_at type "+c.to)
			require.Zero(t, w.run(t).Sent)
			w.exec(t, "set timezone to 'UTC'; alter table candu_interactions alter occurred_at type "+map[string]string{"timestamp": "timestamptz", "timestamptz": "timestamp"}[c.to])
			require.Zero(t, w.run(t).Sent)

			w.exec(t, "set timezone to 'Asia/Kolkata'; alter table candu_interactions alter occurred_at type "+c.to)
			require.Contains(t, w.levelled(t, "error"), "occurred_at_shifted")
			_, err := w.try(t, loader.RunOptions{})
			require.True(t, fault.Is(err, fault.Precondition), "%v", err)
			require.ErrorContains(t, err, "another time than the one that was loaded")
			_, verified := w.loader(t).Verify(t.Context(), w.cfg.Sources[0], loader.VerifyOptions{})
			require.True(t, fault.Is(verified, fault.Precondition), "%v", verified)
			require.EqualValues(t, 200, w.fake.Stats().Accepted, "nothing was sent again")
			_, statement, _ := strings.Cut(fault.HintOf(err), "  ")
			w.exec(t, strings.ReplaceAll(statement, "that zone", "Asia/Kolkata"))
			require.Zero(t, w.run(t).Sent)
			require.True(t, w.verify(t, loader.VerifyOptions{}).Proved)
		})
	}
}
