package event

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// The columns of the export that say who somebody is.
const (
	UserID      = "user_id"
	AnonymousID = "anonymous_id"
)

// Identity names somebody.
type Identity struct {
	// Column is [UserID] or [AnonymousID].
	Column string
	// Value is as it is sent, without white space around it.
	Value string
}

// IdentityOf returns the identity that a value of a column is; false if it is blank.
func IdentityOf(column, value string) (Identity, bool) {
	value = strings.TrimSpace(value)
	return Identity{column, value}, value != ""
}

// Hash is what is kept of somebody who was forgotten: HMAC-SHA-256, with a salt that each schema has
// of its own.
func (i Identity) Hash(salt []byte) []byte {
	mac := hmac.New(sha256.New, salt)
	_, _ = mac.Write([]byte(i.Column + "\x00" + i.Value)) // It never fails.
	return mac.Sum(nil)
}

// Blanks are the characters that count as white space, all of them, for Postgres to trim by.
var Blanks = func() string {
	var all strings.Builder
	for _, r := range unicode.White_Space.R16 { // There is none beyond.
		for c := rune(r.Lo); c <= rune(r.Hi); c += rune(r.Stride) {
			all.WriteRune(c)
		}
	}
	return all.String()
}()

// ForgottenPeople are those whose rows are not sent. nil is nobody.
type ForgottenPeople struct {
	salt   []byte
	hashes map[string]struct{}
}

// NewForgottenPeople returns the people whose identities have these hashes.
func NewForgottenPeople(salt []byte, hashes [][]byte) *ForgottenPeople {
	f := &ForgottenPeople{salt: salt, hashes: map[string]struct{}{}}
	for _, hash := range hashes {
		f.hashes[string(hash)] = struct{}{}
	}
	return f
}

// Has reports whether a row names one of them.
func (f *ForgottenPeople) Has(in *Interaction) bool {
	if f == nil || len(f.hashes) == 0 {
		return false
	}
	return f.has(UserID, in.UserID) || f.has(AnonymousID, in.AnonymousID)
}

func (f *ForgottenPeople) has(column, value string) bool {
	identity, ok := IdentityOf(column, value)
	if !ok {
		return false
	}
	_, forgotten := f.hashes[string(identity.Hash(f.salt))]
	return forgotten
}

// WithoutIdentity returns a row as JSON, by canonical names, without the columns that say who somebody is.
func WithoutIdentity(object []byte) ([]byte, error) {
	var row map[string]json.RawMessage
	if err := json.Unmarshal(object, &row); err != nil {
		return nil, fmt.Errorf("taking the identity out of a row: %w", err)
	}
	delete(row, UserID)
	delete(row, AnonymousID)
	return json.Marshal(row)
}
