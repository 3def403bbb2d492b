package event

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// MessageID returns the messageId of a row: a UUID version 8 (RFC 9562), lower
// case, of which
//
//   - 48 bits are the time in unix milliseconds, rounded down, so that indexes
//     over it stay local,
//   - 12 + 62 bits are the leading bits of SHA-256(namespace || id).
//
// Segment drops duplicates by messageId over all of its customers, hence the
// namespace; a row with the same id and time always has the same messageId, hence no duplicate.
func MessageID(namespace uuid.UUID, id string, occurredAt time.Time) string {
	var space [128]byte
	input := append(append(space[:0], namespace[:]...), id...)
	hash := sha256.Sum256(input)

	var u uuid.UUID
	// Milliseconds first: 48 bits of a 64-bit number.
	binary.BigEndian.PutUint64(u[:8], uint64(occurredAt.UnixMilli())<<16)
	u[6] = 0x80 | hash[0]>>4
	u[7] = hash[0]<<4 | hash[1]>>4
	// The 62 bits that follow the first 12, behind the two bits of the variant.
	rest := binary.BigEndian.Uint64(hash[1:9])<<4 | uint64(hash[9]>>4)
	binary.BigEndian.PutUint64(u[8:], 0x8000000000000000|rest>>2)
	return u.String()
}

// IDPrefix returns what the messageIds of a millisecond begin with. In the order of
// the bytes it stands before all of them and after those of the time before.
func IDPrefix(t time.Time) string {
	return MessageID(uuid.Nil, "", t)[:13]
}

// ParseMessageID reads a messageId in any spelling of a UUID, and returns it as [MessageID]
// spells it, with the time in it, rounded down to milliseconds. ok is false for what is no
// messageId.
func ParseMessageID(text string) (id string, occurredAt time.Time, ok bool) {
	u, err := uuid.Parse(text)
	if err != nil || u.Version() != 8 {
		return "", time.Time{}, false
	}
	millis := binary.BigEndian.Uint64(u[:8]) >> 16
	return u.String(), time.UnixMilli(int64(millis)).UTC(), true
}
