package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// An older server does without the one that it does not know, a pooler without all.
func TestAsking_AsMuchAsIsKnown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refuses string
		code    string
		pooled  bool
		left    int
	}{
		"all": {"", "", false, len(keepalives) + 2}, "Postgres 13": {checkInterval, "42704", false, len(keepalives) + 1},
		"a pooler": {"tcp_keepalives_idle", "08P01", true, 1}, "a pooler before Postgres 13": {"statement_timeout", "08P01", true, 1},
	} {
		config := &pgx.ConnConfig{Config: pgconn.Config{RuntimeParams: map[string]string{"application_name": "x"}}}
		tries := 0
		pooled, err := asking(config, map[string]string{"statement_timeout": "1"}, func() error {
			tries++
			if _, asked := config.RuntimeParams[c.refuses]; asked {
				return &pgconn.PgError{Code: c.code}
			}
			return nil
		})
		require.NoError(t, err, name)
		require.Equal(t, c.pooled, pooled, name)
		require.Len(t, config.RuntimeParams, c.left, name)
		require.LessOrEqual(t, tries, 2)
	}
}
