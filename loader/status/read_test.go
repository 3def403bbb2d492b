package status_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/status"
)

// databases answer what they are told to.
type databases struct {
	state    ledger.State
	stateErr error
	history  ledger.History
	waiting  error
	counted  int
}

func (d *databases) State(context.Context) (ledger.State, error)     { return d.state, d.stateErr }
func (d *databases) History(context.Context) (ledger.History, error) { return d.history, nil }
func (d *databases) Waiting(context.Context, ledger.State) (int64, error) {
	d.counted++
	return 7, d.waiting
}

func read(t *testing.T, db *databases, memory status.Memory) status.Source {
	t.Helper()
	return status.Read(t.Context(), &config.Source{Nickname: "A", Location: time.UTC}, db, memory, time.Hour)
}

func ago(d time.Duration) *time.Time { return new(time.Now().Add(-d)) }

func ended(by ledger.RunStatus, before time.Duration) *ledger.RunRecord {
	return &ledger.RunRecord{ID: 1, Kind: ledger.Scheduled, Status: by, StartedAt: *ago(before + time.Minute), FinishedAt: ago(before)}
}

func TestRead_State(t *testing.T) {
	t.Parallel()
	run := []ledger.RunRecord{*ended(ledger.RunSucceeded, time.Minute)}
	for want, db := range map[status.State]*databases{
		status.New:     {},
		status.Fresh:   {history: ledger.History{Recent: run}, state: ledger.State{CaughtUpAt: ago(time.Minute), WatermarkAt: ago(100 * time.Hour)}},
		status.Late:    {history: ledger.History{Recent: run}, state: ledger.State{CaughtUpAt: ago(2 * time.Hour)}},
		status.Running: {history: ledger.History{Recent: run, Running: run}, state: ledger.State{CaughtUpAt: ago(time.Minute)}},
		status.Failing: {history: ledger.History{Recent: run, Failing: &ledger.Failing{Since: *ago(time.Minute)}}},
	} {
		s := read(t, db, status.Memory{})
		require.Equal(t, want, s.State)
		require.NotEmpty(t, s.Sentence)
		require.True(t, s.Migrated)
	}
	s := read(t, &databases{stateErr: ledger.ErrNotMigrated}, status.Memory{})
	require.Equal(t, status.New, s.State)
	require.False(t, s.Migrated)
	require.NoError(t, s.Err)
}

// What a process remembers of attempts that no table knows counts until somebody succeeds.
func TestRead_Failure(t *testing.T) {
	t.Parallel()
	remembered := status.Memory{Err: fault.New(fault.Precondition, "no table").WithHint("make one"), FailingSince: *ago(time.Hour)}
	require.Nil(t, read(t, &databases{}, status.Memory{}).Failure)

	f := read(t, &databases{}, remembered).Failure
	require.Equal(t, status.Failure{Since: remembered.FailingSince, Error: "no table", Hint: "make one"}, *f)

	recorded := ledger.History{Failing: &ledger.Failing{Since: *ago(3 * time.Hour), Error: "refused"}}
	f = read(t, &databases{history: recorded}, status.Memory{}).Failure
	require.Equal(t, status.Failure{Since: recorded.Failing.Since, Error: "refused"}, *f)
	f = read(t, &databases{history: recorded}, remembered).Failure
	require.Equal(t, status.Failure{Since: recorded.Failing.Since, Error: "no table", Hint: "make one"}, *f, "the earlier moment, the later reason")

	require.NotNil(t, read(t, &databases{history: ledger.History{LastSuccess: ended(ledger.RunSucceeded, 2*time.Hour)}}, remembered).Failure)
	require.Nil(t, read(t, &databases{history: ledger.History{LastSuccess: ended(ledger.RunSucceeded, time.Minute)}}, remembered).Failure, "another replica succeeded")
}

func TestRead_DatabasesAway(t *testing.T) {
	t.Parallel()
	away := &databases{stateErr: errors.New("connection refused")}
	s := read(t, away, status.Memory{})
	require.EqualError(t, s.Err, "connection refused")
	require.Equal(t, status.Failing, s.State)
	require.WithinDuration(t, time.Now(), s.Failure.Since, time.Minute)
	s = read(t, away, status.Memory{AwaySince: *ago(time.Hour)})
	require.True(t, s.Failure.Since.Before(*ago(59 * time.Minute)))
}

// A source whose state can't be read goes on growing old.
func TestRead_LagOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	remembered := status.Memory{CaughtUpAt: ago(3 * time.Hour)}
	for _, err := range []error{errors.New("connection refused"), fault.Wrap(fault.Precondition, ledger.ErrAbsent, "x"), ledger.ErrNotMigrated} {
		s := read(t, &databases{stateErr: err}, remembered)
		require.InDelta(t, 3*3600, *s.LagSeconds, 60, err)
		require.Equal(t, remembered.CaughtUpAt, s.CaughtUpAt)
		require.Nil(t, read(t, &databases{stateErr: err}, status.Memory{}).LagSeconds)
	}
	s := read(t, &databases{stateErr: fault.Wrap(fault.Precondition, ledger.ErrAbsent, "x")}, remembered)
	require.Equal(t, status.Failing, s.State)
	require.ErrorIs(t, s.Err, ledger.ErrAbsent)
	s = read(t, &databases{state: ledger.State{CaughtUpAt: ago(time.Minute)}}, remembered)
	require.InDelta(t, 60, *s.LagSeconds, 30)
}

func TestRead_CountsWhatWaitsOnceAMinute(t *testing.T) {
	t.Parallel()
	db := &databases{}
	s := read(t, db, status.Memory{})
	require.EqualValues(t, 7, *s.WaitingRows)
	s = read(t, db, status.Memory{Waiting: s.Waiting})
	require.EqualValues(t, 7, *s.WaitingRows)
	require.Equal(t, 1, db.counted)
	db.waiting = errors.New("no table")
	s = read(t, db, status.Memory{Waiting: status.Waiting{CountedAt: *ago(2 * time.Minute)}})
	require.Nil(t, s.WaitingRows)
	require.Equal(t, "no table", s.WaitingError)
	require.NoError(t, s.Err)
}

// Ages are counted by the warehouse's clock: this machine's may be hours off.
func TestRead_CountsByTheWarehousesClock(t *testing.T) {
	t.Parallel()
	clock := time.Now().Add(-3 * time.Hour)
	run := []ledger.RunRecord{*ended(ledger.RunSucceeded, 3*time.Hour)}
	before, after := clock.Add(-time.Minute), clock.Add(time.Hour)
	s := read(t, &databases{history: ledger.History{Recent: run}, state: ledger.State{Clock: clock, CaughtUpAt: &before, WatermarkAt: &before}}, status.Memory{})
	require.Equal(t, status.Fresh, s.State)
	require.InDelta(t, 60, *s.LagSeconds, 1)
	require.Contains(t, s.Sentence, "1 minute ago")
	require.Nil(t, s.WatermarkAheadSeconds)

	s = read(t, &databases{state: ledger.State{Clock: clock, WatermarkAt: &after}}, status.Memory{})
	require.InDelta(t, 3600, *s.WatermarkAheadSeconds, 1)
}

// What a process remembers it remembers by its own clock. Compared as it is with what the databases
// tell, it hid a failure where that clock was behind, and a success where it was ahead.
func TestRead_RemembersByTheWarehousesClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		clock := time.Now().Add(ahead).Round(0)
		remembered := status.Memory{
			Err: errors.New("no table"), FailingSince: *ago(time.Hour), RetryAt: *ago(-time.Minute),
		}
		succeeded := func(before time.Duration) ledger.History {
			return ledger.History{LastSuccess: &ledger.RunRecord{ID: 1, StartedAt: clock.Add(-before - time.Minute), FinishedAt: new(clock.Add(-before))}}
		}
		s := read(t, &databases{state: ledger.State{Clock: clock}, history: succeeded(90 * time.Minute)}, remembered)
		require.NotNil(t, s.Failure, "it succeeded before it failed")
		require.WithinDuration(t, clock.Add(-time.Hour), s.Failure.Since, 30*time.Second)
		require.WithinDuration(t, clock.Add(time.Minute), *s.RetryAt, 30*time.Second)
		s = read(t, &databases{state: ledger.State{Clock: clock}, history: succeeded(30 * time.Minute)}, remembered)
		require.Nil(t, s.Failure, "another replica succeeded since")
	}
}
