package segment

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
)

func answered(status int, contentType, body string) fakesegment.Fault {
	return fakesegment.Fault{Kind: fakesegment.Status, Status: status, ContentType: contentType, Body: body}
}

// Only Segment's yes is a yes: analytics-go would take every 2xx for one.
func TestSend_OnlySuccessIsAcceptance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault fakesegment.Fault
		text  string
	}{
		"no success":   {answered(200, "application/json", `{"success": false}`), `answer 200, expected 200 with {"success": true}; it said (application/json): {"success": false}`},
		"a block page": {answered(200, "text/html", "<html>\n<title>Blocked\x1b[2J</title>"), `answer 200, expected 200 with {"success": true}; it said (text/html): <html> <title>Blocked[2J</title>`},
		"nothing":      {answered(200, "text/plain", ""), `answer 200, expected 200 with {"success": true}; it said nothing`},
		"created":      {answered(201, "application/json", success), `answer 201, expected 200 with {"success": true}; it said (application/json): {"success": true}`},
		"queued":       {answered(202, "application/json", success), `answer 202, expected 200 with {"success": true}; it said (application/json): {"success": true}`},
		"no content":   {answered(204, "application/json", ""), `answer 204, expected 200 with {"success": true}; it said nothing`},
		"another type": {answered(200, "application/json", `{"success": "true"}`), `answer 200, expected 200 with {"success": true}; it said (application/json): {"success": "true"}`},
		"deeper":       {answered(200, "application/json", `{"data":{"success":true}}`), `answer 200, expected 200 with {"success": true}; it said (application/json): {"data":{"success":true}}`},
		"the key":      {answered(200, "text/plain", "Basic d3JpdGUta2V5Og== write-key "+strings.Repeat("é", 300)), `; it said (text/plain): Basic *** *** ` + strings.Repeat("é", 200-14) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(c *Config) { c.RetryFor = 20 * time.Millisecond })
			b.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{c.fault}})
			d, err := deliver(t.Context(), b.sender, nil, b.events(t, 3))
			require.Equal(t, fault.Retryable, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.text)
			require.Empty(t, d.Accepted)
			require.Empty(t, d.Refused)
			require.NotContains(t, fault.WithoutWords(err.Error()), "it said")

			b = setup(t, nil)
			c.fault.Next = 2
			b.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{c.fault}})
			d, err = deliver(t.Context(), b.sender, nil, b.events(t, 3))
			require.NoError(t, err)
			require.Equal(t, 2, d.Retries)
			require.Equal(t, []int{0, 1, 2}, acceptedOf(d))
			require.EqualValues(t, 3, b.fake.Stats().Accepted)
		})
	}
}

// An answer is never asked for again because of its length: its beginning decides.
func TestSend_ALongAnswerIsNotRetried(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{{Kind: fakesegment.Long}}})
	d, err := deliver(t.Context(), b.sender, nil, b.events(t, 3))
	require.NoError(t, err)
	require.Zero(t, d.Retries)
	require.EqualValues(t, 1, b.fake.Stats().Requests)
}

func TestSaysSuccess(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][2]bool{ // whole, and the beginning of more
		`{"success": true}`:                             {true, true},
		` {"a":[1,{"success":false}],"success":true } `: {true, true},
		`{"success":true,"success":false}`:              {false, false},
		`{"success":true}, blocked`:                     {false, true},
		`{"success":true,"padding":"xxx`:                {false, true},
		`{"success":true,`:                              {false, true},
		`{"success":true`:                               {false, true},
		`{"success":true,x`:                             {false, false},
		`{"success":tru`:                                {false, false},
		`{"padding":"xxx`:                               {false, false},
		`{"Success":true}`:                              {false, false},
		`{"success":1}`:                                 {false, false},
		`[{"success":true}]`:                            {false, false},
		`true`:                                          {false, false},
		`<html>{"success":true}`:                        {false, false},
		``:                                              {false, false},
	} {
		require.Equal(t, want, [2]bool{saysSuccess([]byte(body), false), saysSuccess([]byte(body), true)}, body)
	}
}

// What a server says of a refusal stands in the error; the key never does.
func TestSend_ARefusalSaysWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	for code, text := range map[int]string{
		401: `answer 401, the write key was refused; it said (text/plain): no *** here`,
		404: `answer 404; it said (text/plain): no *** here`,
	} {
		b := setup(t, nil)
		b.fake.SetFaults(fakesegment.Faults{Faults: []fakesegment.Fault{answered(code, "text/plain", "no write-key\r\nhere\x00")}})
		_, err := deliver(t.Context(), b.sender, nil, b.events(t, 3))
		require.Equal(t, fault.Precondition, fault.KindOf(err))
		require.ErrorContains(t, err, text)
	}
}
