package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fault"
)

func TestKindAndHint(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", fault.Wrap(fault.Precondition, cause, "reading %q", "x"))
	require.EqualError(t, err, `outer: reading "x": cause`)
	require.Equal(t, fault.Precondition, fault.KindOf(err))
	require.ErrorIs(t, err, cause)
	require.Empty(t, fault.HintOf(err))
	require.Equal(t, fault.Failed, fault.KindOf(cause))
	require.False(t, fault.Is(nil, fault.Failed))
	require.NoError(t, fault.Wrap(fault.Failed, nil, "nothing"))

	inner := fault.New(fault.Retryable, "inner").WithHint("do %s", "this")
	outer := fault.Wrap(fault.Interrupted, inner, "outer")
	require.Equal(t, fault.Interrupted, fault.KindOf(outer), "the kind nearest to the surface")
	require.Equal(t, "do this", fault.HintOf(outer), "the hint wherever it is")
}
