// Program webdav serves a folder over WebDAV, with golang.org/x/net/webdav, for tests: on loopback, to one user, with or without
// TLS. It prints its address once it listens.
package main

import (
	"crypto/subtle"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/webdav"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "where it listens")
	folder := flag.String("folder", "", "what it serves")
	prefix := flag.String("prefix", "/dav", "where in its URLs that begins")
	user := flag.String("user", "", "who may")
	passwordFile := flag.String("password-file", "", "the file that holds his password")
	certificate := flag.String("cert", "", "its certificate, for TLS")
	key := flag.String("key", "", "the key of that")
	shallow := flag.Bool("shallow", false, "refuse PROPFIND of infinite depth, as many servers do")
	logged := flag.Bool("log", false, "write a line for each request")
	flag.Parse()
	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		log.Fatal(err)
	}
	files := &webdav.Handler{
		Prefix:     *prefix,
		FileSystem: webdav.Dir(*folder),
		LockSystem: webdav.NewMemLS(),
		Logger: func(request *http.Request, err error) {
			if *logged {
				log.Printf("%s %s %s: %v", request.Method, request.URL.Path, request.Header.Get("Depth"), err)
			}
		},
	}
	guarded := http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		name, given, ok := request.BasicAuth()
		if !ok || subtle.ConstantTimeCompare([]byte(name), []byte(*user)) != 1 ||
			subtle.ConstantTimeCompare([]byte(given), password) != 1 {
			answer.Header().Set("WWW-Authenticate", `Basic realm="webdav"`)
			http.Error(answer, "who are you?", http.StatusUnauthorized)
			return
		}
		if depth := request.Header.Get("Depth"); *shallow && request.Method == "PROPFIND" && depth != "0" && depth != "1" {
			answer.WriteHeader(http.StatusForbidden)
			fmt.Fprint(answer, `<?xml version="1.0"?><error xmlns="DAV:"><propfind-finite-depth/></error>`)
			return
		}
		files.ServeHTTP(answer, request)
	})
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: guarded, ReadHeaderTimeout: 10 * time.Second}
	if *certificate != "" {
		log.Fatal(server.ServeTLS(listener, *certificate, *key))
	}
	log.Fatal(server.Serve(listener))
}
