package statuspage_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/statuspage"
)

func TestSentence(t *testing.T) {
	active := func(kind string, read, expected int64) []statuspage.Active {
		return []statuspage.Active{{ID: 1, Kind: kind, StartedAt: at("09:00"), RowsRead: read, Expected: expected}}
	}
	failed := func(kind, end string) statuspage.Run {
		return statuspage.Run{Kind: kind, Status: "failed", StartedAt: at("05:00"), FinishedAt: new(at(end))}
	}
	ok := statuspage.Run{Kind: "scheduled", Status: "succeeded"}
	until, slot := new(at("08:59")), new(at("10:00"))
	tests := []struct {
		want   string
		source statuspage.Source
	}{
		{"Complete until 08:59, 3 minutes ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: until}},
		{"Complete until 09:02, just now.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: new(at("09:02"))}},
		{"Complete until 09:03, just now.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: new(at("09:03"))}},
		{"Complete until 08:01, 1 hour 1 minute ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: new(at("08:01"))}},
		{"Complete until 30 Jan 22:00, 11 hours ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: new(at("22:00").AddDate(0, 0, -1))}},
		{"Complete until 31 Dec 2025 09:00, 31 days ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: new(at("09:00").AddDate(0, 0, -31))}},
		{"Complete until 09:59 CET, 3 minutes ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: until, Timezone: "Europe/Berlin"}},
		{"Complete until 05:59 UTC-03, 3 minutes ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: until, Timezone: "America/Sao_Paulo"}},
		{"Complete until 22:59 UTC-10, 3 minutes ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: until, Timezone: "Etc/GMT+10"}},
		{"Complete until 08:59, 3 minutes ago.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: until, Timezone: "No/Where"}},
		{"Loaded up to 08:59, 3 minutes ago; no run has got to the end of the export yet.", statuspage.Source{State: statuspage.Fresh, WatermarkAt: until}},
		{"Nothing loaded yet: no run has got to the end of the export.", statuspage.Source{State: statuspage.Fresh}},
		{"Loading since 09:00: 5 of about 10 rows; complete until 08:59.", statuspage.Source{State: statuspage.Fresh, CompleteUntil: until, Active: active("scheduled", 5, 10)}},

		{"Loading since 09:00: 120,000 of about 1,000,000 rows; complete until 08:59.", statuspage.Source{State: statuspage.Running, CompleteUntil: until, Active: active("scheduled", 120_000, 1_000_000)}},
		{"Loading since 09:00: 12 rows so far; nothing is known to be complete.", statuspage.Source{State: statuspage.Running, Active: active("manual", 12, 0)}},
		{"Loading since 09:00: 12 rows so far; complete until 08:59.", statuspage.Source{State: statuspage.Running, CompleteUntil: until, Active: active("retry", 12, 10)}},
		{"Loading since 10:00 CET; complete until 09:59.", statuspage.Source{State: statuspage.Running, CompleteUntil: until, Timezone: "Europe/Berlin", Active: active("scheduled", 0, 0)}},
		{"Backfilling since 09:00: 1 of about 2 rows; complete until 08:59.", statuspage.Source{State: statuspage.Running, CompleteUntil: until, Active: active("backfill", 1, 2)}},
		{"Repairing since 09:00: 0 of about 1 row; complete until 08:59.", statuspage.Source{State: statuspage.Running, CompleteUntil: until, Active: active("repair", 0, 1)}},
		{"Loading since 09:00: 3 rows so far; complete until 08:59.", statuspage.Source{State: statuspage.Running, CompleteUntil: until, Active: append(active("backfill", 1, 2), active("scheduled", 3, 0)...)}},
		{"Loading; complete until 08:59.", statuspage.Source{State: statuspage.Running, CompleteUntil: until}},

		{"Never run: the first run is at 10:00.", statuspage.Source{State: statuspage.New, NextSlot: slot}},
		{"Never run: the first run is at 1 Feb 10:00 CET.", statuspage.Source{State: statuspage.New, NextSlot: new(at("09:00").AddDate(0, 0, 1)), Timezone: "Europe/Berlin"}},
		{"Never run: the first run was due at 09:00.", statuspage.Source{State: statuspage.New, NextSlot: new(at("09:00"))}},
		{"Never run: its schedule has no next slot.", statuspage.Source{State: statuspage.New, Schedule: "0 0 30 2 *"}},
		{"Never run, and it has no schedule: start it with candu-loader run Candu_A.", statuspage.Source{State: statuspage.New, Nickname: "Candu_A"}},
		{"Never run, and it has no schedule: start it with candu-loader run 'it'\\''s; rm'.", statuspage.Source{State: statuspage.New, Nickname: "it's; rm"}},
		{"First run: loading since 09:00: 7 of about 9 rows.", statuspage.Source{State: statuspage.New, Active: active("scheduled", 7, 9)}},

		{"Late: complete until 06:59, 2 hours 3 minutes ago; about 12,345 rows waiting; next run at 10:00.", statuspage.Source{State: statuspage.Late, CompleteUntil: new(at("06:59")), PendingRows: new(int64(12_345)), NextSlot: slot}},
		{"Late: complete until 06:59, 2 hours 3 minutes ago; loading since 09:00: 1 of about 2 rows.", statuspage.Source{State: statuspage.Late, CompleteUntil: new(at("06:59")), PendingRows: new(int64(1)), NextSlot: slot, Active: active("scheduled", 1, 2)}},
		{"Late: nothing is known to be complete.", statuspage.Source{State: statuspage.Late}},
		{"Late: complete until 08:59, 3 minutes ago; next run due.", statuspage.Source{State: statuspage.Late, CompleteUntil: until, NextSlot: new(at("09:02"))}},

		{"Failing since 07:02: complete until 06:59; tried again at 09:05.", statuspage.Source{
			State: statuspage.Failing, CompleteUntil: new(at("06:59")), RetryAt: new(at("09:05")), NextSlot: slot,
			Runs: []statuspage.Run{{Status: "running"}, failed("scheduled", "08:02"), {Kind: "retry", Status: "interrupted"}, failed("scheduled", "07:02"), ok, failed("scheduled", "05:02")},
		}},
		{"Failing since 07:02: complete until 08:59; tried again any moment.", statuspage.Source{State: statuspage.Failing, CompleteUntil: until, RetryAt: new(at("09:01")), Runs: []statuspage.Run{failed("backfill", "09:00"), failed("manual", "07:02"), failed("repair", "06:00")}}},
		{"Failing since 05:00: complete until 08:59; next run at 10:00.", statuspage.Source{State: statuspage.Failing, CompleteUntil: until, NextSlot: slot, Runs: []statuspage.Run{{Status: "failed", StartedAt: at("05:00")}}}},
		{"Failing since at least 07:02: complete until 08:59; next run due.", statuspage.Source{State: statuspage.Failing, CompleteUntil: until, NextSlot: new(at("09:00")), Runs: many(20, failed("scheduled", "07:02"))}},
		{"Failing since 06:30: nothing is known to be complete; not tried again by itself: start it with candu-loader run A.", statuspage.Source{
			State: statuspage.Failing, Nickname: "A", Trouble: []statuspage.Trouble{{Since: at("07:30")}, {}, {Since: at("06:30")}},
		}},
		{"Failing: nothing is known to be complete; next run at 10:00.", statuspage.Source{State: statuspage.Failing, NextSlot: slot}},
		{"Failing since 07:02: complete until 08:59; loading since 09:00: 1 of about 2 rows.", statuspage.Source{State: statuspage.Failing, CompleteUntil: until, RetryAt: slot, Active: active("retry", 1, 2), Runs: []statuspage.Run{failed("scheduled", "07:02")}}},
		{"Complete until 08:59, 3 minutes ago.", statuspage.Source{State: "unheard of", CompleteUntil: until}},
	}
	for _, test := range tests {
		require.Equal(t, test.want, statuspage.Sentence(test.source, now))
	}
}

func many(n int, run statuspage.Run) []statuspage.Run {
	out := make([]statuspage.Run, n)
	for i := range out {
		out[i] = run
	}
	return out
}

// The clocks went back at 03:00: half past two came twice, and the zone tells which.
func TestSentenceNamesTheZoneAgainWhereItChanges(t *testing.T) {
	first := time.Date(2025, 10, 26, 0, 30, 0, 0, time.UTC)
	s := statuspage.Source{State: statuspage.Failing, Timezone: "Europe/Berlin", CompleteUntil: &first, RetryAt: new(first.Add(time.Hour)),
		Trouble: []statuspage.Trouble{{Since: first.Add(10 * time.Minute)}}}
	require.Equal(t, "Failing since 02:40 CEST: complete until 02:30; tried again at 02:30 CET.", statuspage.Sentence(s, first.Add(20*time.Minute)))
}
