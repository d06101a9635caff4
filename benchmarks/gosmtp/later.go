//go:build later

package main

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"

	"github.com/emersion/go-smtp"
)

type backend struct{}

func (backend) NewSession(*smtp.Conn) (smtp.Session, error) { return session{}, nil }

type session struct{}

func (session) Reset()                               {}
func (session) Logout() error                        { return nil }
func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (session) Data(body io.Reader) error {
	count, err := io.Copy(io.Discard, body)
	atomic.AddInt64(&messages, 1)
	atomic.AddInt64(&octets, count)
	return err
}

func configure(*smtp.Server) {}

func connect(connection net.Conn, config *tls.Config) (*smtp.Client, error) {
	if *lmtp {
		return smtp.NewClientLMTP(connection), nil
	}
	if config != nil {
		return smtp.NewClientStartTLS(connection, config)
	}
	return smtp.NewClient(connection), nil
}

func envelope(client *smtp.Client, from, to string) error {
	if err := client.Mail(from, nil); err != nil {
		return err
	}
	return client.Rcpt(to, nil)
}
