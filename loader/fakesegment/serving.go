package fakesegment

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// serving is a server that was started.
type serving struct {
	mu          sync.Mutex
	http        *http.Server
	url         string
	certificate *x509.Certificate
	ended       chan struct{}
}

// HTTP returns a server around the handler, which counts connections.
func (s *Server) HTTP() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

// Start listens on an address ("127.0.0.1:0" chooses a port) and serves until Close
// or Shutdown.
func (s *Server) Start(ctx context.Context, address string) error {
	s.serving.mu.Lock()
	defer s.serving.mu.Unlock()
	if s.serving.http != nil {
		return errors.New("starting the server: it runs already")
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening on %q: %w", address, err)
	}
	server, ended, scheme := s.HTTP(), make(chan struct{}), "http"
	if s.options.TLS {
		certificate, err := selfSigned()
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		s.serving.certificate = certificate.Leaf
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
		scheme = "https"
	}
	s.serving.http, s.serving.ended, s.serving.url = server, ended, scheme+"://"+listener.Addr().String()
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // It ends by Close or Shutdown.
	}()
	return nil
}

// URL returns where the server that was started listens.
func (s *Server) URL() string {
	s.serving.mu.Lock()
	defer s.serving.mu.Unlock()
	return s.serving.url
}

// Certificate returns the certificate of [Options.TLS], for clients that shall trust
// it.
func (s *Server) Certificate() *x509.Certificate {
	s.serving.mu.Lock()
	defer s.serving.mu.Unlock()
	return s.serving.certificate
}

// Shutdown ends the server when the requests that it has are answered, or ctx is
// done: what hangs on purpose is cut off.
func (s *Server) Shutdown(ctx context.Context) {
	s.serving.mu.Lock()
	defer s.serving.mu.Unlock()
	if s.serving.http == nil {
		return
	}
	_ = s.serving.http.Shutdown(ctx)
	_ = s.serving.http.Close()
	<-s.serving.ended
	s.serving.http = nil
}

// Close ends the server at once and breaks its connections.
func (s *Server) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ctx)
}

// selfSigned makes a certificate for this machine.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
