package fault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// TLS reports whether err says that the other side can't be trusted, or speaks no TLS: no
// further try mends that.
func TLS(err error) bool {
	return is[*tls.CertificateVerificationError](err) || is[x509.UnknownAuthorityError](err) || is[x509.HostnameError](err) ||
		is[x509.CertificateInvalidError](err) || is[tls.RecordHeaderError](err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
