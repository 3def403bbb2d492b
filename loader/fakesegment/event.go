package fakesegment

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
)

// Event is one event of a batch.
type Event struct {
	Type        string          `json:"type"`
	MessageID   json.RawMessage `json:"messageId"`
	UserID      json.RawMessage `json:"userId"`
	AnonymousID json.RawMessage `json:"anonymousId"`
	Name        json.RawMessage `json:"name"`
	Event       json.RawMessage `json:"event"`
	Timestamp   string          `json:"timestamp"`
	Properties  json.RawMessage `json:"properties"`

	raw json.RawMessage
}

// Raw returns the event as it came.
func (e *Event) Raw() json.RawMessage { return e.raw }

// ID returns the messageId, "" if it is none.
func (e *Event) ID() string { return text(e.MessageID) }

// UnmarshalJSON keeps the raw event beside its fields.
func (e *Event) UnmarshalJSON(b []byte) error {
	type plain Event
	if err := json.Unmarshal(b, (*plain)(e)); err != nil {
		return err
	}
	e.raw = bytes.Clone(b)
	return nil
}

// request is the body of a batch.
type request struct {
	Batch []Event `json:"batch"`
}

// invalid returns why Segment drops the event silently, by the names of its
// delivery overview, or "".
func (e *Event) invalid() string {
	switch {
	case e.Type != "track" && e.Type != "screen" && e.Type != "identify" && e.Type != "page" && e.Type != "group":
		return "type_unknown"
	case e.ID() == "" || len(e.ID()) > 100:
		return "message_id_invalid"
	case e.UserID == nil && e.AnonymousID == nil:
		return "no_user_anon_id"
	case (e.UserID != nil && text(e.UserID) == "") || (e.AnonymousID != nil && text(e.AnonymousID) == ""):
		return "id_not_string"
	case e.Type == "track" && e.Event == nil:
		return "event_not_defined"
	case e.Type == "track" && text(e.Event) == "":
		return "event_not_string"
	case e.Type == "screen" && text(e.Name) == "":
		return "name_not_string"
	case e.Properties != nil && (len(e.Properties) == 0 || e.Properties[0] != '{'):
		return "properties_not_object"
	}
	at, err := time.Parse(time.RFC3339Nano, e.Timestamp)
	if err != nil || at.Before(time.Unix(0, 0)) {
		return "timestamp_invalid"
	}
	return ""
}

// text returns a JSON string's value, "" if it is no string.
func text(raw json.RawMessage) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// countEvents counts the messageIds of a body without keeping it.
func countEvents(body io.Reader) int64 {
	needle := []byte(`"messageId"`)
	buffer := make([]byte, 0, 64<<10)
	var n int64
	for {
		read, err := body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+read]
		n += int64(bytes.Count(buffer, needle))
		// What may be the beginning of the next one stays.
		if keep := len(needle) - 1; len(buffer) > keep {
			buffer = buffer[:copy(buffer, buffer[len(buffer)-keep:])]
		}
		if err != nil {
			return n
		}
	}
}
