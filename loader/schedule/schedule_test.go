package schedule_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/schedule"
)

func parse(t require.TestingT, text, zone string) *schedule.Schedule {
	location, err := time.LoadLocation(zone)
	require.NoError(t, err)
	s, err := schedule.Parse(text, location)
	require.NoError(t, err)
	return s
}

// The slots of a schedule around a change of the clock, in local time with offset.
func TestNext_ClockChanges(t *testing.T) {
	t.Parallel()
	const form = "01-02 15:04 -0700"
	for name, c := range map[string]struct {
		zone, text, after string
		want              []string
	}{
		"Berlin forward: 02:30 is after the gap":   {"Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", []string{"03-29 03:00 +0200", "03-30 02:30 +0200"}},
		"Berlin forward: slots in the gap are one": {"Europe/Berlin", "*/20 1-3 * * *", "2026-03-29T00:30:00Z", []string{"03-29 01:40 +0100", "03-29 03:00 +0200", "03-29 03:20 +0200"}},
		"Berlin back: 02:30 once":                  {"Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", []string{"10-25 02:30 +0200", "10-26 02:30 +0100"}},
		"Berlin back: 02:00 once":                  {"Europe/Berlin", "0 2 * * *", "2026-10-24T12:00:00Z", []string{"10-25 02:00 +0200", "10-26 02:00 +0100"}},
		"Berlin back: 03:00 is not repeated":       {"Europe/Berlin", "0 3 * * *", "2026-10-24T12:00:00Z", []string{"10-25 03:00 +0100", "10-26 03:00 +0100"}},
		"Berlin forward: hourly stays hourly":      {"Europe/Berlin", "@hourly", "2026-03-28T23:30:00Z", []string{"03-29 01:00 +0100", "03-29 03:00 +0200", "03-29 04:00 +0200"}},
		"Berlin back: hourly stays hourly":         {"Europe/Berlin", "@hourly", "2026-10-24T23:30:00Z", []string{"10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"}},
		"Berlin back: */30 of every hour":          {"Europe/Berlin", "*/30 * * * *", "2026-10-25T00:15:00Z", []string{"10-25 02:30 +0200", "10-25 02:00 +0100", "10-25 02:30 +0100"}},
		"New York forward":                         {"America/New_York", "30 2 * * *", "2026-03-07T12:00:00Z", []string{"03-08 03:00 -0400", "03-09 02:30 -0400"}},
		"New York back":                            {"America/New_York", "30 1 * * *", "2026-10-31T12:00:00Z", []string{"11-01 01:30 -0400", "11-02 01:30 -0500"}},
		"Lord Howe forward by half an hour":        {"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", []string{"10-04 02:30 +1100", "10-05 02:15 +1100"}},
		"Lord Howe back by half an hour":           {"Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00:00Z", []string{"04-05 01:45 +1100", "04-06 01:45 +1030"}},
		"Cairo forward at midnight":                {"Africa/Cairo", "@daily", "2026-04-22T12:00:00Z", []string{"04-23 00:00 +0200", "04-24 01:00 +0300", "04-25 00:00 +0300"}},
		"Cairo back at midnight":                   {"Africa/Cairo", "30 23 * * *", "2026-10-28T12:00:00Z", []string{"10-28 23:30 +0300", "10-29 23:30 +0300", "10-30 23:30 +0200"}},
		"Apia, a day that never was":               {"Pacific/Apia", "0 12 * * *", "2011-12-29T00:00:00Z", []string{"12-29 12:00 -1000", "12-31 00:00 +1400", "12-31 12:00 +1400"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, c.text, c.zone)
			at, err := time.Parse(time.RFC3339, c.after)
			require.NoError(t, err)
			var got []string
			for range c.want {
				at = s.Next(at)
				got = append(got, at.Format(form))
			}
			require.Equal(t, c.want, got)
		})
	}
}

// Whatever the moment and the zone: the next slot is later, nothing lies between, and
// the wall clock shows a time of the schedule unless it was put forward just then.
func TestNext_Properties(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kolkata", "America/Santiago"}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		s := parse(t, rapid.SampledFrom([]string{"30 2 * * *", "0 0 * * *", "@hourly", "*/20 1-3 * * *", "15 0 1 * *", "45 1 * * 0", "@every 7m"}).Draw(t, "text"), zone)
		after := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "after"), 0)
		slot := s.Next(after)
		require.True(t, slot.After(after))
		between := after.Add(time.Duration(rapid.Float64Range(0, 1).Draw(t, "part") * float64(slot.Sub(after)-time.Second)))
		require.Equal(t, slot, s.Next(between), "asked from %s", between)
		begin, _ := slot.ZoneBounds()
		if s.Text() == "30 2 * * *" && !slot.Equal(begin) {
			require.Equal(t, "02:30", slot.Format("15:04"))
		}
	})
}

// Processes that began at other moments agree on the slots of @every.
func TestNext_Every(t *testing.T) {
	t.Parallel()
	s := parse(t, "@every 30m", "Europe/Berlin")
	at := time.Date(2026, 1, 1, 12, 7, 3, 5, time.UTC)
	require.Equal(t, "12:30:00", s.Next(at).UTC().Format(time.TimeOnly))
	require.Equal(t, "13:00:00", s.Next(s.Next(at)).UTC().Format(time.TimeOnly))
	require.Equal(t, "30s", parse(t, "@every 30s", "UTC").Next(time.Unix(30, 0)).Sub(time.Unix(30, 0)).String())
	require.Equal(t, time.Unix(0, 0), parse(t, "@every 1s", "UTC").Next(time.Unix(-1, 0)).Local())
}

func TestRestore(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"30 2 * * 1-5", "@hourly", "@every 90s"} {
		s := parse(t, text, "Europe/Berlin")
		restored, err := schedule.Restore(s.String())
		require.NoError(t, err)
		require.Equal(t, s, restored)
	}
	_, err := schedule.Restore("*/90 * * * * UTC")
	require.NoError(t, err, "an older version took it")
	for _, text := range []string{"", "@hourly", "@hourly Europe/Barlin", "@often UTC"} {
		_, err := schedule.Restore(text)
		require.Error(t, err, text)
	}
}

func TestParse_Errors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"*/90 * * * *":          "has a step of 90 in */90: the field has 60 values",
		"0 1-5/24 * * *":        "has a step of 24",
		"1,,2 * * * *":          "has a comma too many",
		",1 0 * * *":            "has a comma too many",
		"61 * * * *":            "end of range (61) above maximum (59)",
		"* * * *":               "expected exactly 5 fields",
		"@often":                "unrecognized descriptor",
		"0 0 31 2 *":            "never comes",
		"TZ=Asia/Tokyo 0 * * *": "does not belong here",
		"":                      "empty spec string",
	} {
		_, err := schedule.Parse(text, time.UTC)
		require.ErrorContains(t, err, want, text)
	}
	s, err := schedule.Parse("0 0 29 2 *", time.UTC)
	require.NoError(t, err)
	require.Equal(t, "2028-02-29", s.Next(time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)).Format(time.DateOnly))
}

// 7 is Sunday as 0 is, alone, in lists, at the end of a range, by name and with a step.
func TestParse_Sunday(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"7": "0", "07": "0", "1,7": "0,1", "5-7": "0,5,6", "1-7": "0-6", "7-7": "0", "0-7": "0-6", "fri-sun": "0,5,6", "SAT-7": "0,6", "1-7/2": "0,1,3,5",
		"2-7/3": "2,5", "3,6-7": "0,3,6", "mon-sun": "0-6", "sun-tue": "0-2", "sun": "0", "7/2": "0", "1-7/1": "0-6",
	} {
		got, expected := parse(t, "0 3 * * "+text, "UTC"), parse(t, "0 3 * * "+want, "UTC")
		at := time.Unix(1_800_000_000, 0)
		for range 20 {
			require.Equal(t, expected.Next(at), got.Next(at), "%s as %s", text, want)
			at = got.Next(at)
		}
		require.Equal(t, "0 3 * * "+text, got.Text(), "shown as it was written")
	}
	for _, text := range []string{"8", "6-8", "7-1", "5-1", "0 3 7 13 7"} {
		_, err := schedule.Parse("0 3 * * "+text, time.UTC)
		require.Error(t, err, text)
	}
}

// What other schedulers know and cron does not is named, in place of "failed to parse int".
func TestParse_Foreign(t *testing.T) {
	t.Parallel()
	for want, texts := range map[string][]string{
		"L, the last":             {"0 3 L * *", "0 3 L-3 * *", "0 3 1,L * *", "0 3 * * 5L", "0 3 * * friL", "0 3 l * *"},
		"W, the nearest":          {"0 3 15W * *", "0 3 W * *"},
		"LW, the last":            {"0 3 LW * *"},
		"#, the n-th":             {"0 3 * * 5#2", "0 3 * * fri#2", "0 3 * * 1#1,3#2"},
		"Jenkins'":                {"H 3 * * *", "H/15 * * * *", "H(0-29) * * * *", "0 H(1-3) * * *", "h * * * *"},
		"time zone":               {"TZ=Asia/Tokyo 0 3 * * *", "CRON_TZ=UTC @daily", "TZ=UTC", "0 3 * * * TZ=UTC", "cron_tz=UTC 0 3 * * *"},
		"nothing but blanks":      {" ", "\t", "\u3000"},
		"blank around it":         {" @hourly", "@hourly ", "@every 5m\n", "\u00a0@daily"},
		"blank beside":            {"1, 2 * * * *", "1 ,2 * * * *", "0 1 - 5 * * *", "* /15 * * * *", "*/ 15 * * * *", "0 3 * * 1- 5"},
		"blank in it":             {"@hourly @daily", "@ hourly"},
		"can't be seen":           {"0\u200b 3 * * *", "\ufeff@hourly", "0 3 * * *\x00"},
		"one blank, behind":       {"@every", "@every5m", "@every  5m", "@every 5 m", "@every\t5m"},
		"whole seconds, at least": {"@every 500ms", "@every 0s", "@every -5m", "@every 1ns", "@every 1500ms", "@every 0"},
		"none for seconds":        {"0 0 3 * * *", "0 0 3 ? * * 2026"},
	} {
		for _, text := range texts {
			_, err := schedule.Parse(text, time.UTC)
			require.ErrorContains(t, err, want, "%q", text)
		}
	}
	for _, text := range []string{"0 3 * JUL WED", "0 3 * jan-mar thu", " 0  3 * * 1-5 ", "0 3 ? * *", "*/15 * * * *", "@midnight", "@every 1s", "@every 1h30m"} {
		parse(t, text, "UTC")
	}
}
