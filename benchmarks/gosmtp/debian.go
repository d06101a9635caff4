//go:build !later

package main

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"

	"github.com/emersion/go-smtp"
)

type backend struct{}

func (backend) Login(*smtp.ConnectionState, string, string) (smtp.Session, error) {
	return nil, smtp.ErrAuthUnsupported
}

func (backend) AnonymousLogin(*smtp.ConnectionState) (smtp.Session, error) {
	return session{}, nil
}

type session struct{}

func (session) Reset()                              {}
func (session) Logout() error                       { return nil }
func (session) Mail(string, smtp.MailOptions) error { return nil }
func (session) Rcpt(string) error                   { return nil }

func (session) Data(body io.Reader) error {
	count, err := io.Copy(io.Discard, body)
	atomic.AddInt64(&messages, 1)
	atomic.AddInt64(&octets, count)
	return err
}

func configure(server *smtp.Server) {
	server.AuthDisabled = true
}

func connect(connection net.Conn, config *tls.Config) (*smtp.Client, error) {
	if *lmtp {
		return smtp.NewClientLMTP(connection, host)
	}
	client, err := smtp.NewClient(connection, host)
	if err == nil && config != nil {
		err = client.StartTLS(config)
	}
	return client, err
}

func envelope(client *smtp.Client, from, to string) error {
	if err := client.Mail(from, nil); err != nil {
		return err
	}
	return client.Rcpt(to)
}
