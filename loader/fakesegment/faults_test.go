package fakesegment_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// Each fault hits one request. What the client sees, and whether the event was
// accepted, differ; the request after it is served as ever.
func TestFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fault    fakesegment.Fault
		status   int    // 0 = the client gets an error
		accepted bool   // although
		counted  int    // in Stats.Statuses; default status
		text     string // in the client's error
	}{
		"429":          {fault: fakesegment.Fault{Kind: fakesegment.Status, Status: 429, RetryAfter: 7}, status: 429},
		"503":          {fault: fakesegment.Fault{Kind: fakesegment.Status, Status: 503}, status: 503},
		"413":          {fault: fakesegment.Fault{Kind: fakesegment.Status, Status: 413}, status: 413},
		"401":          {fault: fakesegment.Fault{Kind: fakesegment.Status, Status: 401}, status: 401},
		"reset before": {fault: fakesegment.Fault{Kind: fakesegment.ResetBefore}},
		"reset after":  {fault: fakesegment.Fault{Kind: fakesegment.ResetAfter}, accepted: true},
		"cut":          {fault: fakesegment.Fault{Kind: fakesegment.Cut}, accepted: true, text: "unexpected EOF"},
		"drop":         {fault: fakesegment.Fault{Kind: fakesegment.Drop}, status: 200},
		"redirect":     {fault: fakesegment.Fault{Kind: fakesegment.Redirect}, status: 302},
		"delay":        {fault: fakesegment.Fault{Kind: fakesegment.Delay, DelayMillis: 60}, status: 200, accepted: true},
		"slow":         {fault: fakesegment.Fault{Kind: fakesegment.Slow, DelayMillis: 3}, status: 200, accepted: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fakesegment.Options{})
			c.fault.Next = 1
			b.server.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{c.fault}})
			began := time.Now()
			// No retry by the client's transport, which resends on a connection that it knew.
			got, err := b.do(t, http.MethodPost, "/v1/batch", batch(screen("1")), func(r *http.Request) { r.GetBody = nil })
			took := time.Since(began)
			if c.status == 0 {
				require.ErrorContains(t, err, c.text)
				require.EqualValues(t, 1, b.server.Stats().Statuses[0])
			} else {
				require.NoError(t, err)
				require.Equal(t, c.status, got.status)
				require.EqualValues(t, 1, b.server.Stats().Statuses[c.status])
			}
			if c.fault.RetryAfter > 0 {
				require.Equal(t, "7", got.retryAfter)
			}
			if c.fault.DelayMillis > 0 {
				require.GreaterOrEqual(t, took, 50*time.Millisecond)
			}
			if c.accepted {
				require.Equal(t, []string{"1"}, b.server.Accepted())
			} else {
				require.Empty(t, b.server.Accepted())
			}
			b.ok(t, screen("2"))
		})
	}
}

func TestFaults_Hang(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	b.server.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Hang}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error)
	for n, end := range []func(){cancel, b.server.Close} {
		go func() {
			_, err := b.do(t, http.MethodPost, "/v1/batch", batch(screen("1")), func(r *http.Request) { *r = *r.WithContext(ctx) })
			failed <- err
		}()
		loadertest.Eventually(t, func() bool { return b.server.Stats().Requests == int64(n+1) }, "request %d", n+1)
		end()
		require.Error(t, loadertest.Receive(t, failed, "request %d to fail", n+1))
		ctx = t.Context()
	}
	require.Empty(t, b.server.Accepted())
}

func TestFaults_SkipAndNext(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	b.server.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{
		{Kind: fakesegment.Status, Status: 500, Skip: 2, Next: 2}, {Kind: fakesegment.Status, Status: 503, Next: 1},
	}})
	var statuses []int
	for range 6 {
		got, err := b.send(t, screen("1"))
		require.NoError(t, err)
		statuses = append(statuses, got.status)
	}
	require.Equal(t, []int{503, 200, 500, 500, 200, 200}, statuses)
}

func TestFaults_ShareFollowsTheSeed(t *testing.T) {
	t.Parallel()
	statuses := func(seed uint64) (list []int) {
		b := setup(t, fakesegment.Options{Seed: seed})
		b.server.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 500, Share: 0.3}}})
		for range 200 {
			got, err := b.send(t, screen("1"))
			require.NoError(t, err)
			list = append(list, got.status)
		}
		require.InDelta(t, 60, b.server.Stats().Statuses[500], 30)
		return list
	}
	first := statuses(1)
	require.Equal(t, first, statuses(1))
	require.NotEqual(t, first, statuses(2))
}

func TestFaults_Poison(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	for _, poison := range []fakesegment.Poison{{MessageID: "2"}, {EventName: "Voir l'étape"}, {UserID: "u1", EventName: "Voir l'étape", Status: 413}} {
		b.server.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{poison}})
		got, err := b.send(t, screen("1"), track("2", "Voir l'étape"))
		require.NoError(t, err)
		require.Equal(t, max(400, poison.Status), got.status)
		require.Empty(t, b.server.Accepted(), "the whole batch is refused")
	}
	b.server.SetFaults(fakesegment.Faults{Poison: []fakesegment.Poison{{MessageID: "2"}}})
	b.ok(t, screen("1"))
	b.server.SetFaults(fakesegment.Faults{})
	b.ok(t, track("2", "Voir l'étape"))
}

func TestFaults_OverHTTP(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{})
	put := func(body string) answer {
		got, err := b.do(t, http.MethodPut, "/faults", body, nil)
		require.NoError(t, err)
		return got
	}
	require.Equal(t, 204, put(`{"faults":[{"kind":"status","status":503}]}`).status)
	got, err := b.send(t, screen("1"))
	require.NoError(t, err)
	require.Equal(t, 503, got.status)
	for body, text := range map[string]string{
		`{"faults":[{"kind":"nonsense"}]}`:                        `fault kind "nonsense" is none of status, reset_before`,
		`{"faults":[{"kind":"status"}]}`:                          "fault status 0 is not from 200 to 599",
		`{"faults":[{"kind":"drop","share":1.5}]}`:                "fault share 1.5 is not from 0 to 1",
		`{"faults":[{"kind":"drop","next":-1}]}`:                  "fault next and skip can't be negative",
		`{"fault":{}}`:                                            `unknown field "fault"`,
		`{"faults":[{"kind":"status","status":503,"nex":"one"}]}`: `unknown field "nex"`,
	} {
		got := put(body)
		require.Equal(t, 400, got.status)
		require.Contains(t, got.body, text)
	}
	deleted, err := b.do(t, http.MethodDelete, "/faults", "", nil)
	require.NoError(t, err)
	require.Equal(t, 204, deleted.status)
	b.ok(t, screen("1"))
}

func TestFaults_CountOnly(t *testing.T) {
	t.Parallel()
	b := setup(t, fakesegment.Options{CountOnly: true})
	b.server.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Status, Status: 503, Next: 1}}})
	got, err := b.send(t, screen("1"))
	require.NoError(t, err)
	require.Equal(t, 503, got.status)
	b.ok(t, screen("1"))
	require.EqualValues(t, 1, b.server.Stats().Accepted)
}
