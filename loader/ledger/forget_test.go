package ledger

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/event"
)

// A mirror of many pieces, of which each table ends elsewhere: all of it is gone through.
func TestForget_EveryPiece(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.migrate(t)
	rows := "select lpad(n::text, 8, '0'), case when n %% 1000 = 1 then 'gone' else 'other' end from generate_series(1, %d) n"
	b.exec(t, fmt.Sprintf("insert into screens (id, user_id) "+rows, 2*pieceOfMirror+1))
	b.exec(t, fmt.Sprintf("insert into tracks (id, user_id) "+rows, pieceOfMirror+1))
	b.exec(t, fmt.Sprintf("insert into tutorial_interaction (id, user_id) "+rows, 3*pieceOfMirror+1))
	f := Forgetting{Identity: event.Identity{Column: event.UserID, Value: "gone"}}
	would, err := b.ledger.WouldForget(t.Context(), f)
	require.NoError(t, err)
	done, err := b.ledger.Forget(t.Context(), f)
	require.NoError(t, err)
	require.Equal(t, ErasedRows{Screens: 41, Tracks: 21, TutorialInteraction: 61}, done.Rows)
	require.Equal(t, done.Rows, would.Rows)
	for _, table := range []string{"screens", "tracks", "tutorial_interaction"} {
		require.Equal(t, "0", b.one(t, "select count(*)::text from "+table+" where user_id = 'gone'"))
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "user-1": "(forgotten)", "user-12": "user-12", "xuser-1 user-1, user-1": "xuser-1 (forgotten), (forgotten)", `"user-1"é`: `"(forgotten)"é`, "éuser-1": "éuser-1",
	} {
		require.Equal(t, want, without(text, "user-1"))
	}
}
