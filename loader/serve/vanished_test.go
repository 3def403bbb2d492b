package serve_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/status"
)

var lagMetric = regexp.MustCompile(`(?m)^candu_loader_lag_seconds\{source="Candu_Test"\} (\S+)$`)

// lag reads the metric, -1 if there is none.
func (b *bundle) lag(t *testing.T) float64 {
	t.Helper()
	_, _, text := b.get(t, "/metrics")
	found := lagMetric.FindStringSubmatch(text)
	if found == nil {
		return -1
	}
	lag, err := strconv.ParseFloat(found[1], 64)
	require.NoError(t, err)
	return lag
}

// A schema that vanishes is told of everywhere, its source goes on growing old, also over a reload, and
// all is well again when it is back.
func TestRun_TheSchemaVanishes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start(t)
	well := func() bool {
		code, _, text := b.get(t, "/readyz")
		return code == http.StatusOK && strings.Contains(text, "schema of Candu_Test: ok\n") && b.lag(t) >= 0 && b.view(t).Sources[0].State == status.Fresh
	}
	eventually(t, "all is well", well)
	b.exec(t, "alter schema candu_test rename to elsewhere")
	told := func() bool {
		code, _, text := b.get(t, "/readyz")
		s := b.view(t).Sources[0]
		return code == http.StatusServiceUnavailable && strings.Contains(text, "warehouse: ok") &&
			strings.Contains(text, `schema of Candu_Test: looking into schema "candu_test" of database "`) &&
			s.State == status.Failing && strings.Contains(s.Failure.Hint, "candu-loader's tables are in: elsewhere")
	}
	eventually(t, "it is told", told)
	_, _, page := b.get(t, "/")
	require.Contains(t, page, "it is not there")
	_, _, text := b.get(t, "/metrics")
	require.Contains(t, text, `candu_loader_failing{source="Candu_Test"} 1`)
	lag := b.lag(t)
	require.GreaterOrEqual(t, lag, 0.0, "the lag is not known any more")
	eventually(t, "the lag to grow", func() bool { return b.lag(t) > lag+4 })
	b.reload <- struct{}{}
	eventually(t, "the config to be reloaded", func() bool { return strings.Contains(b.log.String(), "the config was reloaded") })
	require.Greater(t, b.lag(t), lag+4)
	require.True(t, told())
	b.exec(t, "alter schema elsewhere rename to candu_test")
	eventually(t, "all is well again", well)
	require.Contains(t, b.log.String(), "the slots could not be read")
}
