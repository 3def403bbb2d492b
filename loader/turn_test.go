package loader

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := firstTurn()
		require.True(t, first.isOver())
		require.NoError(t, first.wait(t.Context()))

		turn := newTurn()
		require.False(t, turn.isOver())
		began := time.Now()
		require.ErrorIs(t, turn.waitBriefly(t.Context()), errNotYet)
		require.Equal(t, patience, time.Since(began))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, turn.wait(ctx), context.Canceled)
		time.AfterFunc(time.Hour, func() { turn.end(true) })
		require.NoError(t, turn.wait(t.Context()))

		broken := newTurn()
		broken.end(false)
		require.ErrorIs(t, broken.wait(t.Context()), errBroken)
		require.ErrorIs(t, broken.waitBriefly(t.Context()), errBroken)
	})
}
