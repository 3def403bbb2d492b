package segment

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
)

func TestAheadOf(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := noon.Add
	const date = "Fri, 02 Jan 2026 12:00:00 GMT"
	for name, c := range map[string]struct {
		date, age      string
		sent, received time.Time
		want           time.Duration
		none           bool
	}{
		"the same":                         {date: date, sent: noon, received: noon},
		"its second was not over":          {date: date, sent: at(999 * time.Millisecond), received: at(999 * time.Millisecond)},
		"the answer took its time":         {date: date, sent: at(-10 * time.Minute), received: at(10 * time.Minute)},
		"ahead":                            {date: date, sent: at(3 * time.Hour), received: at(3*time.Hour + time.Minute), want: 3*time.Hour - time.Second},
		"behind":                           {date: date, sent: at(-3*time.Hour - time.Minute), received: at(-3 * time.Hour), want: -3 * time.Hour},
		"an answer from a cache":           {date: date, age: "10800", sent: at(3 * time.Hour), received: at(3 * time.Hour)},
		"put right meanwhile":              {date: date, sent: at(3 * time.Hour), received: at(time.Second)},
		"put right meanwhile, from behind": {date: date, sent: at(-3 * time.Hour), received: at(time.Second)},
		"no date":                          {none: true, sent: noon, received: noon},
		"no date that can be read":         {date: "yesterday", none: true, sent: noon, received: noon},
	} {
		header := http.Header{}
		header.Set("Date", c.date)
		header.Set("Age", c.age)
		ahead, ok := aheadOf(header, c.sent, c.received)
		require.Equal(t, !c.none, ok, name)
		require.Equal(t, c.want, ahead, name)
	}
}

// Where nobody could be asked before, the first answer decides: no request follows it.
func TestSend_StopsWhereTheClockIsFarOff(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		b := setup(t, nil)
		b.fake.SetClock(ahead)
		first, second := &Batch{Events: b.events(t, 3)}, &Batch{Events: b.events(t, 3)}
		require.NoError(t, b.sender.Send(t.Context(), nil, first))
		require.False(t, first.Undecided(), "what was accepted, was")
		err := b.sender.Send(t.Context(), nil, second)
		require.True(t, fault.Is(err, fault.Precondition))
		word := map[bool]string{true: "this machine's is 3h behind", false: "this machine's is 3h ahead"}[ahead > 0]
		require.ErrorContains(t, err, "comparing clocks with "+b.gateway.config.Endpoint+": ")
		require.Regexp(t, strings.ReplaceAll(word, "3h", "(3h|2h59m)"), err.Error())
		require.Empty(t, second.Accepted)
		require.Empty(t, second.Refused)
		require.EqualValues(t, 1, b.fake.Stats().Requests)

		require.True(t, fault.Is(b.gateway.CheckClock(t.Context()), fault.Precondition))
		b.fake.SetClock(0)
		require.NoError(t, b.gateway.CheckClock(t.Context()), "it was put right")
		require.NoError(t, b.sender.Send(t.Context(), nil, second))
		require.False(t, second.Undecided())
	}
}

func TestSend_WarnsOfAClockThatIsOff(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b := setup(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	warnings := func() int { return strings.Count(log.String(), "this machine's clock differs from Segment's") }
	send := func(ahead time.Duration) int {
		b.fake.SetClock(ahead)
		require.NoError(t, b.sender.Send(t.Context(), nil, &Batch{Events: b.events(t, 1)}))
		return warnings()
	}
	require.Equal(t, 0, send(50*time.Second))
	require.Equal(t, 1, send(2*time.Minute))
	require.Regexp(t, `ahead=-(2m0s|1m5\ds)`, log.String())
	require.Equal(t, 1, send(2*time.Minute), "once")
	require.Equal(t, 1, send(0))
	require.Equal(t, 2, send(-2*time.Minute))
	require.Regexp(t, `ahead=(2m\ds|1m5\ds)`, log.String())
}

// Who does not tell the time, or does not answer, keeps nobody from sending: sending finds out.
func TestCheckClock_NobodyTells(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }))
	t.Cleanup(server.Close)
	for _, endpoint := range []string{server.URL, "http://127.0.0.1:1", "http://["} {
		g := NewGateway(Config{Endpoint: endpoint, Concurrency: 1, BatchSize: 1})
		require.NoError(t, g.CheckClock(t.Context()))
		g.Close()
	}
}

// What is known of a clock is a second less than it is off.
func TestSkew_IsRounded(t *testing.T) {
	t.Parallel()
	for want, off := range map[string]time.Duration{
		"6s ahead": 6 * time.Second, "1m ahead": time.Minute - time.Second, "6m behind": -6*time.Minute + time.Second, "6m10s ahead": 6*time.Minute + 9*time.Second,
		"1h ahead": time.Hour - time.Second, "3h behind": -3*time.Hour + 1100*time.Millisecond, "1d ahead": 24*time.Hour - time.Second,
	} {
		require.Equal(t, want, Skew(off))
	}
}
