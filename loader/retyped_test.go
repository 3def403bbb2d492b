package loader_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader"
	"github.com/candu-loader/candu-loader/loader/fault"
)

// A run goes on with a table of which a column gets another type meanwhile, if that is one that runs begin with; else it ends as
// one that begins would, and the next goes on from there.
func TestRun_AColumnChangesMeanwhile(t *testing.T) {
	t.Parallel()
	for change, ends := range map[string]string{
		"alter table candu_interactions alter tutorial_id type text using '0' || tutorial_id, alter id type bigint, alter version_id type char(20)": "",
		"alter table candu_interactions drop column portal_id; alter table candu_interactions add column portal_id numeric":                         "",
		"alter table candu_interactions alter tutorial_id type bytea using tutorial_id::text::bytea":                                                `column "tutorial_id" (tutorial_id) is of type bytea`,
		"alter table candu_interactions rename user_id to customer":                                                                                 `column "user_id" (user_id) is missing`,
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, 400, "")
			l.exec(t, "alter table candu_interactions alter id type integer")
			var once sync.Once
			l.look = func(rows []int) int {
				if rows[0] >= 41 {
					once.Do(func() { l.exec(t, change) })
				}
				return 0
			}
			summary, err := l.try(t, loader.RunOptions{})
			if ends != "" {
				require.ErrorContains(t, err, ends)
				require.Equal(t, fault.Precondition, fault.KindOf(err))
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, 400, summary.RowsRead)
			require.EqualValues(t, 400, summary.Sent)
			require.Contains(t, l.log.String(), "the table changed while it was read")
			require.Equal(t, "80200", l.one(t, "select sum(tutorial_id) from candu_test.screens"), "each is what it was")
			require.True(t, l.verify(t, loader.VerifyOptions{}).Proved)
		})
	}
}
