// Package event turns a row of the export into the event that it means to
// Segment, or says why it can't be one. It is pure: no I/O, no clock.
package event

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// MaxBytes is the greatest JSON of one event that is sent; Segment documents
// 32 KB, analytics-go refuses more than 32,000 bytes
// (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#max-request-size).
const MaxBytes = 32_000

// The names of the events.
const (
	ViewName        = "tutorial.view"
	InteractionName = "tutorial.interaction"
)

// Kind is what a row is.
type Kind uint8

// The kinds: a view becomes a screen call, an interaction a track call.
const (
	View Kind = iota + 1
	Interacted
)

// String returns the kind as the config calls it.
func (k Kind) String() string {
	switch k {
	case View:
		return "view"
	case Interacted:
		return "interaction"
	}
	return "unknown"
}

// Name returns the event's name.
func (k Kind) Name() string {
	if k == View {
		return ViewName
	}
	return InteractionName
}

// Interaction is one row of the export as it was read. "" stands for NULL. Texts
// are valid UTF-8.
type Interaction struct {
	// ID is the row's id as Postgres prints it.
	ID string
	// Kind is the row's own spelling.
	Kind        string
	UserID      string
	AnonymousID string
	// TutorialID and PortalID are as Postgres prints them.
	TutorialID string
	SegmentID  string
	PortalID   string
	VersionID  string
	EventName  string
	// OccurredAt is in UTC, zero for NULL; an infinity is a time outside of what
	// Postgres can store.
	OccurredAt time.Time
	// ExportedAt is in UTC, and never NULL, for such a row is not read.
	ExportedAt time.Time
	// Garbled says which texts are none in the export's encoding, so that they are not here as they
	// are there; "" if all are.
	Garbled string
}

// Nameless reports whether a row names nobody.
func (in *Interaction) Nameless() bool { return blank(in.UserID) && blank(in.AnonymousID) }

// Event is a row that can be sent.
type Event struct {
	Kind Kind
	// MessageID is deterministic, see [MessageID].
	MessageID string
	// Row is the row that it was made of.
	Row        *Interaction
	TutorialID int64
	// PortalID counts only if HasPortal.
	PortalID  int64
	HasPortal bool
	// At is when the user did it, UTC, in whole microseconds.
	At time.Time
	// Size is how many bytes it takes when it is sent, at most.
	Size int
}

// Library is the client library that sends events, as Segment notes it in context.library.
type Library struct{ Name, Version string }

// Rules make events of the rows of one source.
type Rules struct {
	namespace uuid.UUID
	kinds     map[string]Kind
	hasKind   bool
	size      func(*Event) int
	forgotten *ForgottenPeople
}

// NewRules returns the rules of a source. kinds maps the spellings of the
// column kind; where that column is left aside, hasKind is false and a row without an
// event name is a view. size says how many bytes an event takes when it is sent;
// below [MaxBytes] it may say more than that.
func NewRules(namespace uuid.UUID, kinds map[string]Kind, hasKind bool, size func(*Event) int) *Rules {
	return &Rules{namespace: namespace, kinds: kinds, hasKind: hasKind, size: size}
}

// Without has the rules reject the rows of people who were forgotten, whatever else they are. It
// returns the rules.
func (r *Rules) Without(people *ForgottenPeople) *Rules {
	r.forgotten = people
	return r
}

// Convert makes the event of a row, or says why there is none. The first rule that
// is broken decides. The event points to the row.
func (r *Rules) Convert(in *Interaction) (Event, *Reject) {
	if r.forgotten.Has(in) {
		return Event{}, &Reject{Forgotten, "it names somebody who was forgotten, and is kept without that"}
	}
	return r.convert(in, true)
}

// ConvertErased is Convert for a row of which it does not matter whom it names, for that was erased.
func (r *Rules) ConvertErased(in *Interaction) (Event, *Reject) { return r.convert(in, false) }

func (r *Rules) convert(in *Interaction, named bool) (Event, *Reject) {
	if in.Garbled != "" {
		return Event{}, &Reject{InvalidText, in.Garbled}
	}
	if blank(in.ID) {
		return Event{}, &Reject{MissingID, "id is blank"}
	}
	kind, reject := r.kind(in)
	if reject != nil {
		return Event{}, reject
	}
	if named && in.Nameless() {
		return Event{}, &Reject{MissingIdentity, "user_id and anonymous_id are missing"}
	}
	e := Event{Kind: kind, Row: in}
	if e.TutorialID, reject = number(in.TutorialID, MissingTutorialID, InvalidTutorialID, "tutorial_id"); reject != nil {
		return Event{}, reject
	}
	if !blank(in.PortalID) {
		if e.PortalID, reject = number(in.PortalID, InvalidPortalID, InvalidPortalID, "portal_id"); reject != nil {
			return Event{}, reject
		}
		e.HasPortal = true
	}
	if kind == Interacted && blank(in.EventName) {
		return Event{}, &Reject{MissingEventName, "an interaction needs event_name"}
	}
	if reject = checkTime(in.OccurredAt); reject != nil {
		return Event{}, reject
	}
	e.At = in.OccurredAt.UTC().Truncate(time.Microsecond)
	e.MessageID = MessageID(r.namespace, in.ID, e.At)
	e.Size = r.size(&e)
	if e.Size > MaxBytes {
		return Event{}, &Reject{TooLarge, fmt.Sprintf("the event has %d bytes, at most %d can be sent", e.Size, MaxBytes)}
	}
	return e, nil
}

// MessageID returns the messageId of the event that a row is, or would be if it were fit for one; ""
// if it has no time.
func (r *Rules) MessageID(in *Interaction) string {
	if checkTime(in.OccurredAt) != nil {
		return ""
	}
	return MessageID(r.namespace, in.ID, in.OccurredAt.UTC().Truncate(time.Microsecond))
}

// MessageIDs returns the messageIds that a row has in each of some namespaces; none if it has no time.
func MessageIDs(namespaces []uuid.UUID, in *Interaction) []string {
	var ids []string
	for _, namespace := range namespaces {
		if id := (&Rules{namespace: namespace}).MessageID(in); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *Rules) kind(in *Interaction) (Kind, *Reject) {
	if !r.hasKind {
		if blank(in.EventName) {
			return View, nil
		}
		return Interacted, nil
	}
	if kind, ok := r.kinds[in.Kind]; ok {
		return kind, nil
	}
	if blank(in.Kind) {
		return 0, &Reject{UnknownKind, "kind is missing"}
	}
	return 0, &Reject{UnknownKind, fmt.Sprintf("kind %q stands for neither view nor interaction", cut(in.Kind))}
}

// Present returns s, or "" if it is blank: blank texts count as missing.
func Present(s string) string {
	if blank(s) {
		return ""
	}
	return s
}

// blank reports whether there is nothing but white space, as Unicode has it.
func blank(s string) bool { return strings.TrimSpace(s) == "" }

// NotBlank is the same for Postgres: a regular expression that a text matches unless it is blank. It
// names the code points, for what \s means there depends on version, provider and collation.
var NotBlank = func() string {
	var class strings.Builder
	for _, r := range unicode.White_Space.R16 { // There is none beyond.
		for c := rune(r.Lo); c <= rune(r.Hi); c += rune(r.Stride) {
			fmt.Fprintf(&class, `\u%04x`, c)
		}
	}
	return "[^" + class.String() + "]"
}()
