package pipeline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCommitOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := firstOrder()
		require.True(t, first.isOver())
		require.NoError(t, first.wait(t.Context()))

		order := newOrder()
		require.False(t, order.isOver())
		began := time.Now()
		require.ErrorIs(t, order.waitBriefly(t.Context()), errNotYet)
		require.Equal(t, patience, time.Since(began))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, order.wait(ctx), context.Canceled)
		time.AfterFunc(time.Hour, func() { order.end(true) })
		require.NoError(t, order.wait(t.Context()))

		broken := newOrder()
		broken.end(false)
		require.ErrorIs(t, broken.wait(t.Context()), errBroken)
		require.ErrorIs(t, broken.waitBriefly(t.Context()), errBroken)
	})
}
