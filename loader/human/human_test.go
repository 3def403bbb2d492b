package human_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/human"
)

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for want, durations := range map[string][]time.Duration{
		"0s": {0, -hour, 499 * time.Millisecond}, "1s": {500 * time.Millisecond}, "59s": {59 * second}, "1m": {minute, minute - time.Millisecond},
		"1m1s": {61 * second}, "1h": {hour, hour + 59*second}, "1h55m": {hour + 55*minute + 30*second}, "23h59m": {day - second},
		"1d": {day, day + 59*minute}, "1d1h": {day + hour}, "400d": {400 * day},
	} {
		for _, d := range durations {
			require.Equal(t, want, human.Duration(d), d)
		}
	}
	require.Equal(t, "1m31s", human.Seconds(90.6))
}

func TestWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-hour: "less than a minute", 59 * second: "less than a minute", minute: "1 minute", hour - second: "59 minutes",
		hour: "1 hour", hour + minute: "1 hour 1 minute", 5*hour + 59*minute: "5 hours 59 minutes", 6*hour + 59*minute: "6 hours",
		48*hour - second: "47 hours", 48 * hour: "2 days",
	} {
		require.Equal(t, want, human.Words(d), d)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 17, 26, 12, 120_000_999, time.FixedZone("", 3600))
	require.Equal(t, "2026-11-25 16:26:12Z", human.Time(now))
	require.Equal(t, "2026-11-25 16:26:12.12Z", human.Exact(now))
	require.Equal(t, "2026-11-25 16:26:12Z", human.Exact(now.Truncate(second)))
	require.Equal(t, "1h ago", human.Ago(now.Add(-hour), now))
	require.Equal(t, "0s ago", human.Ago(now, now))
	require.Equal(t, "in 5s", human.Ago(now.Add(5*second), now))
	require.Equal(t, "in 1 hour", human.WordsAgo(now.Add(hour), now))
	require.Equal(t, "just now", human.WordsAgo(now.Add(30*second), now))
	require.Equal(t, "1 minute ago", human.WordsAgo(now.Add(-90*second), now))
	require.Equal(t, "17:26", human.Clock(now, now.UTC()))
	require.Equal(t, "24 Nov 17:26", human.Clock(now.Add(-day), now))
	require.Equal(t, "25 Nov 2025 17:26", human.Clock(now.AddDate(-1, 0, 0), now))
	require.Equal(t, "UTC", human.Zone(now.UTC()))
	require.Equal(t, "UTC-03", human.Zone(now.In(time.FixedZone("-03", -3*3600))))
	require.Equal(t, "once", human.Times(1))
	require.Equal(t, "3 times", human.Times(3))
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -999: "-999", -123456: "-123,456", 1234567: "1,234,567"} {
		require.Equal(t, want, human.Number(n))
	}
	require.Equal(t, "0 rows", human.Count(0, "row"))
	require.Equal(t, "1 row", human.Count(1, "row"))
	require.Equal(t, "1,234 rows", human.Count(1234, "row"))
}

func TestCut(t *testing.T) {
	t.Parallel()
	require.Equal(t, "été", human.Cut("été", 3))
	require.Equal(t, "ét…", human.Cut("été.", 3))
	require.Equal(t, "a; c", human.Join("; ", "", "a", "", "c"))
	require.Equal(t, "a b c", human.Line(" a\n\tb  c\n"))
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, argument := range []string{"Candu_Prod", "a.b-c/d", "", "it's", "$HOME `x` \"y\" \\ * ~", "two\nlines", "Größe"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+human.Quote(argument)).Output()
		require.NoError(t, err)
		require.Equal(t, argument, string(out))
	}
	require.Equal(t, "a.b-c/d", human.Quote("a.b-c/d"))
}
