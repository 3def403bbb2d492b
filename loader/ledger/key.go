package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/queries"
)

// KeyHash tells write keys from one another and says nothing else of them: SHA-256 of the
// namespace's bytes and the key, in hex.
func KeyHash(namespace uuid.UUID, key secret.String) string {
	sum := sha256.Sum256(append(namespace[:], key.Reveal()...))
	return hex.EncodeToString(sum[:])
}

// KeyDue tells whether Segment is to be asked if it knows the write key with that hash.
func (l *Ledger) KeyDue(ctx context.Context, hash string) (bool, error) {
	return ask(ctx, l, "reading what is known of the write key", l.q.KeyDue, hash)
}

// KeyAsked notes that Segment was asked: it knows the key with that hash or does not; nil = it
// could not say.
func (l *Ledger) KeyAsked(ctx context.Context, hash string, known *bool) error {
	_, err := ask(ctx, l.writing(), "noting what is known of the write key", l.q.KeyAsked, queries.KeyAskedParams{WriteKeyHash: hash, WriteKeyKnown: known})
	return err
}

// KeyFill notes with which key events go out, where nobody is asked about it.
func (l *Ledger) KeyFill(ctx context.Context, hash string) error {
	_, err := ask(ctx, l.writing(), "noting the write key", l.q.KeyFill, hash)
	return err
}
