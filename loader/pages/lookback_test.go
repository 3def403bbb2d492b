package pages

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/source"
)

var errTrouble = errors.New("trouble")

// sketch is an export and a mirror of it, of which reading and asking may go wrong.
type sketch struct {
	// delivered says of each row whether the mirror has it.
	delivered []bool
	pageSize  int
	// Calls number so many, counted from 0, meet trouble.
	badReads, badQuestions map[int]bool

	reads, questions int
}

func (s *sketch) Keys(ctx context.Context, from source.Cursor, _ time.Time) (*source.Page, error) {
	if s.reads++; s.badReads[s.reads-1] {
		return nil, errTrouble
	}
	keys := &source.Page{Next: from, Last: true}
	for n := rowAfter(from); n < len(s.delivered); n++ {
		if keys.Last = len(keys.Rows) < s.pageSize; !keys.Last {
			break
		}
		keys.Rows = append(keys.Rows, event.Interaction{ID: strconv.Itoa(n), ExportedAt: time.Unix(int64(n), 0)})
		keys.Next = source.After(time.Unix(int64(n), 0), strconv.Itoa(n))
	}
	return keys, ctx.Err()
}

func (s *sketch) Delivered(ctx context.Context, _ int64, _ []string) (map[string]struct{}, error) {
	if s.questions++; s.badQuestions[s.questions-1] {
		return nil, errTrouble
	}
	found := map[string]struct{}{}
	for n, delivered := range s.delivered {
		if delivered {
			found[event.MessageID(uuid.Nil, strconv.Itoa(n), time.Time{})] = struct{}{}
		}
	}
	return found, ctx.Err()
}

// rowAfter returns the number of the row with which a page from there begins.
func rowAfter(from source.Cursor) int {
	if from.ID == nil {
		return 0
	}
	n, _ := strconv.Atoi(*from.ID)
	return n + 1
}

// Whatever goes wrong with reading and asking, a scan passes over delivered rows alone, and
// over each of them once; of the others each is left to be read in full.
func TestLookbackScan_PassesOverDeliveredRowsAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		calls := rapid.MapOfN(rapid.IntRange(0, 60), rapid.Just(true), 0, 20)
		missing := rapid.IntRange(2, 100).Draw(t, "one in so many is missing")
		s := &sketch{
			delivered: rapid.SliceOfN(rapid.Map(rapid.IntRange(1, missing), func(n int) bool { return n > 1 }), 0, 300).Draw(t, "delivered"),
			pageSize:  rapid.IntRange(1, 10).Draw(t, "page size"),
			badReads:  calls.Draw(t, "bad reads"), badQuestions: calls.Draw(t, "bad questions"),
		}
		scan := &lookbackScan{source: s, ledger: s, namespaces: []uuid.UUID{uuid.Nil}, until: time.Unix(1000, 0)}
		for from := source.At(time.Unix(0, 0)); rowAfter(from) < len(s.delivered); {
			first := rowAfter(from)
			page, err := scan.next(t.Context(), 1, from)
			if err != nil {
				require.ErrorIs(t, err, errTrouble)
				continue // As the next run would.
			}
			if page == nil { // One is read in full.
				from = source.After(time.Unix(int64(first), 0), strconv.Itoa(first))
				continue
			}
			next := rowAfter(page.Next)
			require.Equal(t, next-first, page.Passed)
			require.NotContains(t, s.delivered[first:next], false)
			from = page.Next
		}
	})
}
