package fakesegment

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"
	"unicode/utf8"
)

// Event is one event of a batch. Its fields stand as they came, quotes included;
// nil = it has none.
type Event struct {
	Type                              string
	MessageID, UserID, AnonymousID    json.RawMessage
	Name, Event, Timestamp            json.RawMessage
	Properties, Context, Integrations json.RawMessage

	raw json.RawMessage
}

// Raw returns the event as it came.
func (e *Event) Raw() json.RawMessage { return e.raw }

// ID returns the messageId, "" if it is none.
func (e *Event) ID() string { return text(e.MessageID) }

// cut returns the event in its JSON, without a copy. What is no object has no
// fields, and no type.
func cut(raw []byte) Event {
	e := Event{raw: raw}
	if raw[0] != '{' {
		return e
	}
	members(raw, func(key, value []byte) {
		switch string(key) {
		case `"type"`:
			e.Type = text(value)
		case `"messageId"`:
			e.MessageID = value
		case `"userId"`:
			e.UserID = value
		case `"anonymousId"`:
			e.AnonymousID = value
		case `"name"`:
			e.Name = value
		case `"event"`:
			e.Event = value
		case `"timestamp"`:
			e.Timestamp = value
		case `"properties"`:
			e.Properties = value
		case `"context"`:
			e.Context = value
		case `"integrations"`:
			e.Integrations = value
		}
	})
	return e
}

// parse returns the events of a batch; ok = false means malformed JSON, or no
// batch. The events share the body's memory.
func parse(body []byte) (batch []Event, ok bool) {
	body = bytes.TrimSpace(body)
	if !json.Valid(body) || body[0] != '{' {
		return nil, false
	}
	members(body, func(key, value []byte) {
		if string(key) == `"batch"` && value[0] == '[' {
			batch = batch[:0] // As everywhere, the last one of several counts.
			elements(value, func(raw []byte) { batch = append(batch, cut(raw)) })
		}
	})
	return batch, len(batch) > 0
}

// invalid returns why Segment drops the event silently, by the names of its
// delivery overview where it has one, or "".
func (e *Event) invalid() string {
	switch {
	case e.Type != "track" && e.Type != "screen" && e.Type != "identify" && e.Type != "page" && e.Type != "group":
		return "type_unknown"
	// Segment makes one up where there is none; then nothing can be deduped.
	case e.ID() == "" || utf8.RuneCountInString(e.ID()) > 100:
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
	case e.Properties != nil && e.Properties[0] != '{':
		return "properties_not_object"
	}
	at, err := time.Parse(time.RFC3339Nano, text(e.Timestamp))
	if err != nil || at.Before(time.Unix(0, 0)) {
		return "timestamp_invalid"
	}
	return ""
}

// eventName returns the property of that name.
func (e *Event) eventName() (name string) {
	if len(e.Properties) > 0 && e.Properties[0] == '{' {
		members(e.Properties, func(key, value []byte) {
			if string(key) == `"eventName"` {
				name = text(value)
			}
		})
	}
	return name
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

var windows = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// countEvents counts the messageIds of a body without keeping it.
func countEvents(body io.Reader) int64 {
	needle := []byte(`"messageId"`)
	window := windows.Get().(*[64 << 10]byte)
	defer windows.Put(window)
	buffer := window[:0]
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
