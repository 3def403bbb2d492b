package status_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

var now = time.Date(2026, 1, 31, 9, 2, 30, 0, time.UTC)

func at(clock string) time.Time {
	t, err := time.Parse("15:04", clock)
	if err != nil {
		panic(err)
	}
	return time.Date(2026, 1, 31, t.Hour(), t.Minute(), 0, 0, time.UTC)
}

func TestSentence(t *testing.T) {
	active := func(kind ledger.RunKind, read, expected int64) []status.Run {
		run := ledger.RunRecord{ID: 1, Kind: kind, StartedAt: at("09:00"), Counters: ledger.Counters{RowsRead: read}}
		return []status.Run{{RunRecord: run, Expected: expected}}
	}
	since := func(clock string) *status.Failure { return &status.Failure{Since: at(clock)} }
	until, slot := new(at("08:59")), new(at("10:00"))
	tests := []struct {
		want   string
		source status.Source
	}{
		{"Complete until 08:59, 3 minutes ago.", status.Source{State: status.Fresh, CompleteUntil: until}},
		{"Complete until 09:02, just now.", status.Source{State: status.Fresh, CompleteUntil: new(at("09:02"))}},
		{"Complete until 09:03, just now.", status.Source{State: status.Fresh, CompleteUntil: new(at("09:03"))}},
		{"Complete until 08:01, 1 hour 1 minute ago.", status.Source{State: status.Fresh, CompleteUntil: new(at("08:01"))}},
		{"Complete until 30 Jan 22:00, 11 hours ago.", status.Source{State: status.Fresh, CompleteUntil: new(at("22:00").AddDate(0, 0, -1))}},
		{"Complete until 31 Dec 2025 09:00, 31 days ago.", status.Source{State: status.Fresh, CompleteUntil: new(at("09:00").AddDate(0, 0, -31))}},
		{"Complete until 09:59 CET, 3 minutes ago.", status.Source{State: status.Fresh, CompleteUntil: until, Timezone: "Europe/Berlin"}},
		{"Complete until 05:59 UTC-03, 3 minutes ago.", status.Source{State: status.Fresh, CompleteUntil: until, Timezone: "America/Sao_Paulo"}},
		{"Complete until 22:59 UTC-10, 3 minutes ago.", status.Source{State: status.Fresh, CompleteUntil: until, Timezone: "Etc/GMT+10"}},
		{"Complete until 08:59, 3 minutes ago.", status.Source{State: status.Fresh, CompleteUntil: until, Timezone: "No/Where"}},
		{"Loaded up to 08:59, 3 minutes ago; no run has come to the end of the export yet.", status.Source{State: status.Fresh, WatermarkAt: until}},
		{"Nothing loaded yet: no run has come to the end of the export.", status.Source{State: status.Fresh}},

		{"Loading since 09:00: 120,000 of about 1,000,000 rows; complete until 08:59.", status.Source{State: status.Running, CompleteUntil: until, Running: active("scheduled", 120_000, 1_000_000)}},
		{"Loading since 09:00: 12 rows so far; nothing is known to be complete.", status.Source{State: status.Running, Running: active("manual", 12, 0)}},
		{"Loading since 09:00: 12 rows so far; complete until 08:59.", status.Source{State: status.Running, CompleteUntil: until, Running: active("scheduled", 12, 10)}},
		{"Retrying rejected rows since 09:00: 12 rows so far; complete until 08:59.", status.Source{State: status.Running, CompleteUntil: until, Running: active("retry", 12, 0)}},
		{"Loading since 10:00 CET; complete until 09:59.", status.Source{State: status.Running, CompleteUntil: until, Timezone: "Europe/Berlin", Running: active("scheduled", 0, 0)}},
		{"Backfilling since 09:00: 1 of about 2 rows; complete until 08:59.", status.Source{State: status.Running, CompleteUntil: until, Running: active("backfill", 1, 2)}},
		{"Repairing since 09:00: 0 of about 1 row; complete until 08:59.", status.Source{State: status.Running, CompleteUntil: until, Running: active("repair", 0, 1)}},
		{"Loading since 09:00: 3 rows so far; complete until 08:59.", status.Source{State: status.Running, CompleteUntil: until, Running: append(active("backfill", 1, 2), active("scheduled", 3, 0)...)}},
		{"Caught up at 09:01, 1 minute ago.", status.Source{State: status.Fresh, CaughtUpAt: new(at("09:01")), CompleteUntil: until, HeldBackBy: "a reason"}},

		{"Never run: the first run is at 10:00.", status.Source{State: status.New, NextSlot: slot}},
		{"Never run: the first run is at 1 Feb 10:00 CET.", status.Source{State: status.New, NextSlot: new(at("09:00").AddDate(0, 0, 1)), Timezone: "Europe/Berlin"}},
		{"Never run, and it has no schedule: start it with candu-loader run Candu_A.", status.Source{State: status.New, Nickname: "Candu_A"}},
		{"Never run, and it has no schedule: start it with candu-loader run 'it'\\''s; rm'.", status.Source{State: status.New, Nickname: "it's; rm"}},
		{"First run: loading since 09:00: 7 of about 9 rows.", status.Source{State: status.New, Running: active("scheduled", 7, 9)}},

		{"Late: last caught up at 06:59, 2 hours 3 minutes ago; about 12,345 rows waiting; next run at 10:00.", status.Source{State: status.Late, CaughtUpAt: new(at("06:59")), Waiting: status.Waiting{WaitingRows: new(int64(12_345))}, NextSlot: slot}},
		{"Late: last caught up at 06:59, 2 hours 3 minutes ago; loading since 09:00: 1 of about 2 rows.", status.Source{State: status.Late, CaughtUpAt: new(at("06:59")), Waiting: status.Waiting{WaitingRows: new(int64(1))}, NextSlot: slot, Running: active("scheduled", 1, 2)}},
		{"Late.", status.Source{State: status.Late}},

		{"Failing since 07:02: complete until 06:59; retrying at 09:05.", status.Source{
			State: status.Failing, CompleteUntil: new(at("06:59")), RetryAt: new(at("09:05")), NextSlot: slot, Failure: since("07:02"),
		}},
		{"Failing since 05:00: complete until 08:59; next run at 10:00.", status.Source{State: status.Failing, CompleteUntil: until, NextSlot: slot, Failure: since("05:00")}},
		{"Failing since 06:30: nothing is known to be complete; nothing retries it: start it with candu-loader run A.", status.Source{State: status.Failing, Nickname: "A", Failure: since("06:30")}},
		{"Failing since 07:02: complete until 08:59; loading since 09:00: 1 of about 2 rows.", status.Source{State: status.Failing, CompleteUntil: until, RetryAt: slot, Running: active("manual", 1, 2), Failure: since("07:02")}},
		{"Complete until 08:59, 3 minutes ago.", status.Source{State: "unheard of", CompleteUntil: until}},
	}
	for _, test := range tests {
		test.source.Migrated = true
		require.Equal(t, test.want, status.Sentence(&test.source, now))
	}
	require.Equal(t, "The schema is of an older version: the run at 10:00 upgrades it.", status.Sentence(&status.Source{State: status.New, NextSlot: slot}, now))
	require.Equal(t, "The schema is of an older version: the next run upgrades it.", status.Sentence(&status.Source{State: status.New}, now))
}

// The clocks went back at 03:00: half past two came twice, and the zone tells which.
func TestSentenceNamesTheZoneAgainWhereItChanges(t *testing.T) {
	first := time.Date(2025, 10, 26, 0, 30, 0, 0, time.UTC)
	s := status.Source{State: status.Failing, Timezone: "Europe/Berlin", CompleteUntil: &first, RetryAt: new(first.Add(time.Hour)),
		Failure: &status.Failure{Since: first.Add(10 * time.Minute)}}
	require.Equal(t, "Failing since 02:40 CEST: complete until 02:30; retrying at 02:30 CET.", status.Sentence(&s, first.Add(20*time.Minute)))
}
