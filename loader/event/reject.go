package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Reason is a stable code for why a row can't be sent.
type Reason string

// The reasons. Segment answers 200 and drops such events silently, so each rule
// is checked before sending; only RefusedBySegment is found afterwards. CanNotBeRecorded is
// found before sending too, by trying to record. Forgotten says nothing against the row, but that
// nobody wants it sent.
const (
	MissingIdentity   Reason = "missing_identity"
	UnknownKind       Reason = "unknown_kind"
	MissingTutorialID Reason = "missing_tutorial_id"
	InvalidTutorialID Reason = "invalid_tutorial_id"
	InvalidPortalID   Reason = "invalid_portal_id"
	MissingEventName  Reason = "missing_event_name"
	InvalidTimestamp  Reason = "invalid_timestamp"
	TooLarge          Reason = "event_too_large"
	MissingID         Reason = "missing_id"
	InvalidText       Reason = "invalid_text"
	CanNotBeRecorded  Reason = "can_not_be_recorded"
	RefusedBySegment  Reason = "refused_by_segment"
	Forgotten         Reason = "forgotten"
)

// Reasons returns all codes.
func Reasons() []Reason {
	return []Reason{
		MissingIdentity, UnknownKind, MissingTutorialID, InvalidTutorialID, InvalidPortalID, MissingEventName,
		InvalidTimestamp, TooLarge, MissingID, InvalidText, CanNotBeRecorded, RefusedBySegment, Forgotten,
	}
}

// Stays reports whether a row that was rejected for this reason is left alone until somebody
// retries it, though all rules let it pass: the verdict was somebody else's.
func (r Reason) Stays() bool { return r == RefusedBySegment || r == CanNotBeRecorded }

// Reject says why a row can't be sent.
type Reject struct {
	Reason Reason `json:"reason"`
	// Detail names the column and the value, for people.
	Detail string `json:"detail"`
}

// number parses digits with an optional minus sign in front.
func number(s string, missing, invalid Reason, column string) (int64, *Reject) {
	if blank(s) {
		return 0, &Reject{missing, column + " is missing"}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] == '+' {
		return 0, &Reject{invalid, fmt.Sprintf("%s %q is not a whole number of 64 bits", column, cut(s))}
	}
	return n, nil
}

var (
	firstTime = time.Unix(0, 0).UTC()
	endOfTime = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// checkTime refuses what Segment does not take (before 1970) and what JSON can't
// say (after year 9999, RFC 3339).
func checkTime(t time.Time) *Reject {
	switch {
	case t.IsZero():
		return &Reject{InvalidTimestamp, "occurred_at is missing"}
	case t.Before(firstTime):
		return &Reject{InvalidTimestamp, "occurred_at is before 1970"}
	case !t.Before(endOfTime):
		return &Reject{InvalidTimestamp, "occurred_at is after year 9999"}
	}
	return nil
}

// cut shortens a value for a text that people read.
func cut(s string) string {
	const most = 80
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return strings.TrimSpace(string([]rune(s)[:most])) + "..."
}
