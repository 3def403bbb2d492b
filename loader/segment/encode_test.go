package segment

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/event"
)

func rulesFor(encoder *Encoder) *event.Rules {
	return event.NewRules(uuid.Max, map[string]event.Kind{"view": event.View, "interaction": event.Interacted}, true, encoder.Size)
}

func ordinary() event.Interaction {
	return event.Interaction{
		ID: "1", Kind: "interaction", UserID: "u1", AnonymousID: "a1", TutorialID: "42", SegmentID: "Everyone", PortalID: "7",
		VersionID: "da39a3ee5e6b4b0d3255bfef95601890afd80709", EventName: "Upgrade plan Link Clicked",
		OccurredAt: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
	}
}

func TestEncoder_JSON(t *testing.T) {
	t.Parallel()
	encoder := NewEncoder(map[string]any{"All": true})
	row := ordinary()
	made, reject := rulesFor(encoder).Convert(&row)
	require.Nil(t, reject)
	text, err := encoder.JSON(&made)
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"track","messageId":"`+made.MessageID+`","anonymousId":"a1","userId":"u1",
		"event":"tutorial.interaction","timestamp":"2026-01-02T03:04:05.678901Z","integrations":{"All":true},
		"properties":{"tutorialId":42,"segmentId":"Everyone","portalId":7,"versionId":"da39a3ee5e6b4b0d3255bfef95601890afd80709","eventName":"Upgrade plan Link Clicked"}}`, string(text))

	row = event.Interaction{ID: "1", Kind: "view", AnonymousID: "a1", TutorialID: "42", SegmentID: " ", EventName: "ignored", OccurredAt: row.OccurredAt}
	made, reject = rulesFor(encoder).Convert(&row)
	require.Nil(t, reject)
	text, err = encoder.JSON(&made)
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"screen","messageId":"`+made.MessageID+`","anonymousId":"a1","name":"tutorial.view",
		"timestamp":"2026-01-02T03:04:05.678901Z","integrations":{"All":true},"properties":{"tutorialId":42}}`, string(text))
}

func TestEncoder_Size(t *testing.T) {
	t.Parallel()
	texts := rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"", " ", "<a href=\"x\">&</a>", "\u2028\u2029", "\b\f\n\r\t\x01\x1f\x7f", "日本語 😀", "a\\b", "\ufffd", "é"}),
		rapid.StringMatching(`[a-z<>&"\\ ]{0,20}`),
		rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"x", "<", "\n", "\u2028", "日"}).Draw(t, "of"), rapid.IntRange(4_900, 10_800).Draw(t, "times"))
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		var integrations map[string]any
		if rapid.Bool().Draw(t, "integrations") {
			integrations = map[string]any{"All": false, "Mixpanel": map[string]any{"x": texts.Draw(t, "i")}}
		}
		encoder := NewEncoder(integrations)
		row := event.Interaction{
			Kind: rapid.SampledFrom([]string{"view", "interaction"}).Draw(t, "kind"), UserID: texts.Draw(t, "user"),
			AnonymousID: texts.Draw(t, "anonymous"), SegmentID: texts.Draw(t, "segment"), VersionID: texts.Draw(t, "version"), EventName: texts.Draw(t, "name"),
		}
		made := event.Event{
			Kind: rapid.SampledFrom([]event.Kind{event.View, event.Interacted}).Draw(t, "kind"), Row: &row, MessageID: uuid.Max.String(),
			TutorialID: rapid.Int64().Draw(t, "tutorial"), PortalID: rapid.Int64().Draw(t, "portal"), HasPortal: rapid.Bool().Draw(t, "has portal"),
			At: time.UnixMicro(rapid.Int64Range(0, 253402300799999999).Draw(t, "at")).UTC(),
		}
		text, err := encoder.JSON(&made)
		require.NoError(t, err)
		size := encoder.Size(&made)
		require.GreaterOrEqual(t, size, len(text))
		if size > event.MaxBytes || len(text) > event.MaxBytes {
			require.Len(t, text, size)
		}
	})
}

// The bound is so near that it makes no batch of ordinary events smaller than its greatest
// number of them.
func TestEncoder_SizeOfOrdinaryEvents(t *testing.T) {
	t.Parallel()
	encoder := NewEncoder(nil)
	row := ordinary()
	made, _ := rulesFor(encoder).Convert(&row)
	text, err := encoder.JSON(&made)
	require.NoError(t, err)
	require.InDelta(t, len(text), made.Size, 50)
}

func BenchmarkEncoder_Size(b *testing.B) {
	encoder := NewEncoder(nil)
	row := ordinary()
	made, _ := rulesFor(encoder).Convert(&row)
	b.Run("size", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encoder.Size(&made)
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = encoder.JSON(&made)
		}
	})
}
