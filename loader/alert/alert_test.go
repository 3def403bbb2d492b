package alert_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/alert"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// step is an observation so long after noon, and what is to be told.
type step struct {
	after time.Duration
	seen  alert.Observation
	want  []alert.Kind
}

func failure(since time.Duration) *status.Failure {
	return &status.Failure{Since: noon.Add(since), Error: "connecting: refused", Hint: "Start the server."}
}

func slots(hours ...int) []alert.Missed {
	var missed []alert.Missed
	for _, h := range hours {
		missed = append(missed, alert.Missed{Slot: noon.Add(time.Duration(h) * time.Hour), Why: "the run before was under way"})
	}
	return missed
}

// proof is a verdict with counts by class.
func proof(verdict ledger.Verdict, counts ...any) *status.Proof {
	p := &status.Proof{Proof: ledger.Proof{Verdict: verdict}}
	for i := 0; i < len(counts); i += 2 {
		if p.Differences == nil {
			p.Differences = map[string]int64{}
		}
		p.Differences[counts[i].(string)] = int64(counts[i+1].(int))
	}
	return p
}

func TestNext(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	for name, steps := range map[string][]step{
		"all is well": {{0, alert.Observation{Lag: new(minute)}, nil}, {minute, alert.Observation{}, nil}},
		"a failure is told once, and its end": {
			{0, alert.Observation{Failure: failure(-minute)}, []alert.Kind{alert.Failing}},
			{minute, alert.Observation{Failure: failure(-minute)}, nil},
			{2 * minute, alert.Observation{Failure: failure(minute)}, nil}, // A success in between was not seen.
			{3 * minute, alert.Observation{}, []alert.Kind{alert.Recovered}},
			{4 * minute, alert.Observation{}, nil},
			{5 * minute, alert.Observation{Failure: failure(5 * minute)}, []alert.Kind{alert.Failing}},
		},
		"a difference is told once, again when it is another one, and its end by a verdict": {
			{0, alert.Observation{Proof: proof(ledger.NotProved, "missing", 3)}, []alert.Kind{alert.NotProved}},
			{minute, alert.Observation{Proof: proof(ledger.NotProved, "missing", 3)}, nil},
			{2 * minute, alert.Observation{Proof: proof(ledger.NotProved, "missing", 3, "gone", 9)}, nil}, // Which is allowed.
			{3 * minute, alert.Observation{Proof: proof(ledger.NotProved, "missing", 3, "changed", 1)}, []alert.Kind{alert.NotProved}},
			{4 * minute, alert.Observation{}, nil},
			{5 * minute, alert.Observation{Proof: proof("")}, nil},
			{6 * minute, alert.Observation{Proof: proof(ledger.Proved, "gone", 9)}, []alert.Kind{alert.Proved}},
			{7 * minute, alert.Observation{Proof: proof(ledger.Proved, "gone", 10)}, nil},
			{8 * minute, alert.Observation{Proof: proof(ledger.NotProved)}, []alert.Kind{alert.NotProved}},
			{9 * minute, alert.Observation{Proof: proof(ledger.NotProved)}, nil},
			{10 * minute, alert.Observation{Proof: proof(ledger.NothingToProve)}, []alert.Kind{alert.Proved}},
		},
		"what is proved is no news": {{0, alert.Observation{Proof: proof(ledger.Proved)}, nil}},
		"a lag must fall well below the limit": {
			{0, alert.Observation{Lag: new(60 * minute)}, nil},
			{minute, alert.Observation{Lag: new(61 * minute)}, []alert.Kind{alert.Late}},
			{2 * minute, alert.Observation{Lag: new(59 * minute)}, nil},
			{3 * minute, alert.Observation{Lag: nil}, nil},
			{4 * minute, alert.Observation{Lag: new(62 * minute)}, nil},
			{5 * minute, alert.Observation{Lag: new(54 * minute)}, []alert.Kind{alert.CaughtUp}},
			{6 * minute, alert.Observation{Lag: new(59 * minute)}, nil},
		},
		"rejects that grow are told once a day, a new reason at once": {
			{0, alert.Observation{Rejects: map[string]int64{"too_large": 0}}, nil},
			{minute, alert.Observation{Rejects: map[string]int64{"too_large": 2}}, []alert.Kind{alert.Rejects}},
			{2 * minute, alert.Observation{Rejects: map[string]int64{"too_large": 3}}, nil},
			{3 * minute, alert.Observation{Rejects: nil}, nil},
			{4 * minute, alert.Observation{Rejects: map[string]int64{"too_large": 3, "bad_time": 1}}, []alert.Kind{alert.Rejects}},
			{25 * time.Hour, alert.Observation{Rejects: map[string]int64{"too_large": 3, "bad_time": 1}}, nil},
			{26 * time.Hour, alert.Observation{Rejects: map[string]int64{"too_large": 4, "bad_time": 1}}, []alert.Kind{alert.Rejects}},
			{27 * time.Hour, alert.Observation{Rejects: map[string]int64{}}, nil},
			{28 * time.Hour, alert.Observation{Rejects: map[string]int64{"too_large": 1}}, []alert.Kind{alert.Rejects}},
		},
		"missed slots are told once, an hour apart": {
			{0, alert.Observation{Missed: slots(-1, -2)}, []alert.Kind{alert.Slots}},
			{minute, alert.Observation{Missed: slots(-1, -2)}, nil},
			{2 * minute, alert.Observation{Missed: slots(0, -1)}, nil},
			{61 * minute, alert.Observation{Missed: slots(1, 0)}, []alert.Kind{alert.Slots}},
			{122 * minute, alert.Observation{Missed: slots(1)}, nil},
		},
		"all at once": {
			{0, alert.Observation{Failure: failure(0), Lag: new(2 * time.Hour), Rejects: map[string]int64{"x": 1}, Missed: slots(0)},
				[]alert.Kind{alert.Failing, alert.Late, alert.Rejects, alert.Slots}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var state alert.State
			for i, s := range steps {
				s.seen.Source, s.seen.At = "Candu_A", noon.Add(s.after)
				next, notices := alert.Next(state, s.seen, time.Hour)
				var kinds []alert.Kind
				for _, n := range notices {
					kinds = append(kinds, n.Kind)
					require.Equal(t, "Candu_A", n.Source)
					require.Equal(t, s.seen.At, n.At)
				}
				require.Equal(t, s.want, kinds, "step %d", i)
				state = next
			}
		})
	}
}

func TestNext_ClosesWhatIsWatchedNoLonger(t *testing.T) {
	t.Parallel()
	o := alert.Observation{Source: "A", At: noon, Lag: new(2 * time.Hour)}
	state, _ := alert.Next(alert.State{}, o, time.Hour)
	state, notices := alert.Next(state, o, 0)
	require.Len(t, notices, 1)
	require.Equal(t, alert.CaughtUp, notices[0].Kind)
	require.Contains(t, notices[0].Title, "no longer")
	require.Equal(t, alert.State{}, state)
}

func TestNext_Texts(t *testing.T) {
	t.Parallel()
	const lagOver = 2 * time.Hour
	o := alert.Observation{
		Source: "Candu Prod (EU)", At: noon, Lag: new(26*time.Hour + 5*time.Minute),
		Failure: &status.Failure{Since: noon.Add(-time.Hour), Error: "connecting to\n the export:\trefused", Hint: "Start it."},
		Rejects: map[string]int64{"too_large": 1, "missing_identity": 12},
		Missed:  slots(-1, -2, -3, -4, -5, -6, -7),
	}
	state, notices := alert.Next(alert.State{}, o, lagOver)
	var texts []string
	for _, n := range notices {
		texts = append(texts, n.Title+"\n"+n.Text)
	}
	require.Equal(t, `Candu Prod (EU) is failing
Runs of Candu Prod (EU) have been failing since 2026-03-01 11:00:00Z.
Error: connecting to the export: refused
What to do: Start it.
Look: candu-loader status 'Candu Prod (EU)'

Candu Prod (EU) is late by 1d2h
The lag of Candu Prod (EU) is 1d2h; it has been over alerts.lag_over (2h) since 2026-02-28 11:55:00Z.
What to do: see whether a long run is under way, and whether serve still runs.
Look: candu-loader status 'Candu Prod (EU)'

Candu Prod (EU) rejects 13 rows
13 rows of Candu Prod (EU) can't be sent, new: missing_identity 12, too_large 1.
What to do: fix them in the export, then candu-loader rejects retry 'Candu Prod (EU)'
Look: candu-loader rejects list 'Candu Prod (EU)'

Candu Prod (EU) missed 7 slots
No run for 7 slots of the schedule of Candu Prod (EU):
- 2 slots before these, the first at 2026-03-01 05:00:00Z
- 2026-03-01 07:00:00Z: the run before was under way
- 2026-03-01 08:00:00Z: the run before was under way
- 2026-03-01 09:00:00Z: the run before was under way
- 2026-03-01 10:00:00Z: the run before was under way
- 2026-03-01 11:00:00Z: the run before was under way
The next run reads what they left. Look: candu-loader status 'Candu Prod (EU)'`, strings.Join(texts, "\n\n"))

	o = alert.Observation{Source: "A", At: noon.Add(90 * time.Second), Lag: new(time.Minute), Rejects: map[string]int64{"too_large": 1, "bad_time": 1}}
	_, notices = alert.Next(state, o, lagOver)
	require.Len(t, notices, 3)
	require.Equal(t, "A failed from 2026-03-01 11:00:00Z on, and works again after 1h1m. Nothing is left to do.", notices[0].Text)
	require.Equal(t, "A was late from 2026-02-28 11:55:00Z on; its lag is down to 1m. Nothing is left to do.", notices[1].Text)
	require.Contains(t, notices[2].Text, "1 row of A can't be sent, new since 2026-03-01 12:00:00Z: bad_time 1.\n")

	t.Log("should an error hold a password, it stays here")
	_, notices = alert.Next(alert.State{}, alert.Observation{At: noon, Failure: &status.Failure{Error: "connecting to postgres://u:hunter2@db/x: password=hunter2", Hint: "Try psql postgres://u:hunter2@db/x"}}, lagOver)
	require.NotContains(t, notices[0].Text, "hunter2")
	require.Contains(t, notices[0].Text, "\nError: connecting to postgres://***@db/x: password=***\nWhat to do: Try psql postgres://***@db/x\n")

	t.Log("a service cuts texts that are too long, and would cut the commands away")
	_, notices = alert.Next(alert.State{}, alert.Observation{At: noon, Failure: &status.Failure{Error: strings.Repeat("ä", 9999), Hint: strings.Repeat("h", 9999)}}, lagOver)
	require.Less(t, utf8.RuneCountInString(notices[0].Text), 1000)
	require.Contains(t, notices[0].Text, "candu-loader status")
}

// drawObservation makes one of what can be seen, later than the last.
func drawObservation(t *rapid.T, last alert.Observation) alert.Observation {
	o := alert.Observation{Source: "A", At: last.At.Add(time.Duration(rapid.Int64Range(1, 40).Draw(t, "hours")) * 30 * time.Minute)}
	if rapid.Bool().Draw(t, "fails") {
		o.Failure = &status.Failure{Since: o.At.Add(-time.Minute), Error: "x"}
	}
	if rapid.Bool().Draw(t, "lag known") {
		o.Lag = new(time.Duration(rapid.Int64Range(40, 80).Draw(t, "lag")) * time.Minute)
	}
	o.Rejects = map[string]int64{}
	for _, reason := range []string{"a", "b"} {
		o.Rejects[reason] = last.Rejects[reason] + rapid.Int64Range(0, 2).Draw(t, reason)
	}
	o.Missed = last.Missed
	if rapid.Bool().Draw(t, "misses") {
		o.Missed = append(slices.Clip(o.Missed), alert.Missed{Slot: o.At.Add(-time.Second)})
	}
	return o
}

func TestNext_Properties(t *testing.T) {
	t.Parallel()
	const lagOver = time.Hour
	rapid.Check(t, func(t *rapid.T) {
		var state alert.State
		last := alert.Observation{At: noon}
		open := map[alert.Kind]bool{}
		var rows, missed int64
		look := func(o alert.Observation) {
			before, err := json.Marshal(state)
			require.NoError(t, err)
			next, notices := alert.Next(state, o, lagOver)
			after, err := json.Marshal(state)
			require.NoError(t, err)
			require.Equal(t, string(before), string(after), "Next changes its argument")
			for _, n := range notices {
				count(t, n, open, &rows, &missed)
			}
			_, again := alert.Next(next, o, lagOver)
			require.Empty(t, again, "a notice without a change")
			// The next process reads the state back.
			text, err := json.Marshal(next)
			require.NoError(t, err)
			state = alert.State{}
			require.NoError(t, json.Unmarshal(text, &state))
			last = o
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			look(drawObservation(t, last))
			require.Equal(t, last.Failure != nil, open[alert.Failing])
		}
		late := last
		late.At = late.At.Add(25 * time.Hour)
		look(late)
		require.Equal(t, last.Rejects["a"]+last.Rejects["b"], rows, "every reject is told of once")
		require.Equal(t, int64(len(last.Missed)), missed, "every slot is told of once")
	})
}

func count(t *rapid.T, n alert.Notice, open map[alert.Kind]bool, rows, missed *int64) {
	var number int64
	switch n.Kind {
	case alert.Failing, alert.Late:
		require.False(t, open[n.Kind], "told twice")
		open[n.Kind] = true
	case alert.Recovered:
		require.True(t, open[alert.Failing], "the end of nothing")
		open[alert.Failing] = false
	case alert.CaughtUp:
		require.True(t, open[alert.Late], "the end of nothing")
		open[alert.Late] = false
	case alert.Rejects:
		_, err := fmt.Sscanf(n.Title, "A rejects %d row", &number)
		require.NoError(t, err)
		*rows += number
	case alert.Slots:
		_, err := fmt.Sscanf(n.Title, "A missed %d slot", &number)
		require.NoError(t, err)
		*missed += number
	}
}

// What a server answered is for the operator, who reads the log: it goes to no chat.
func TestNext_NoticesQuoteNoAnswer(t *testing.T) {
	t.Parallel()
	const text = "sending to http://127.0.0.1: answer 401" + fault.Said + " (text/html): <b>jane@example.com</b>"
	_, notices := alert.Next(alert.State{}, alert.Observation{
		Source: "Candu_A", At: time.Now(), Failure: &status.Failure{Error: text + "\nand more", Hint: "look"},
		Missed: []alert.Missed{{Slot: time.Now(), Why: text}},
	}, time.Hour)
	require.Len(t, notices, 2)
	for _, n := range notices {
		require.Contains(t, n.Text, "answer 401")
		require.NotContains(t, n.Text, "jane")
	}
	require.Contains(t, notices[0].Text, "and more")
}
