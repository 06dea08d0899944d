// Verification with Go's own code for transparency logs, for beside_tlog.py.
//
//	tlog VKEY LOG_FOLDER
//
// answers each line with nanoseconds: "full" for one reading of all published entries, the tree over them, and all hash
// tiles and the signed root held against it; "proof" for a thousand checks of an inclusion proof at the log's size.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const proofs = 1000

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// name is a tile's in C2SP's form, which has no height in it.
func name(tile tlog.Tile) string {
	name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return strings.Replace(name, "tile/data/", "tile/entries/", 1)
}

func head(folder string, verifier note.Verifier) tlog.Tree {
	bytes, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	must(err)
	opened, err := note.Open(bytes, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	must(err)
	return tlog.Tree{N: size, Hash: tlog.Hash(*(*[tlog.HashSize]byte)(root))}
}

// stored are all hashes of a tree, as x/mod numbers them.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for at, index := range indexes {
		found[at] = s[index]
	}
	return found, nil
}

func full(folder string, verifier note.Verifier) (tlog.Tree, stored) {
	tree := head(folder, verifier)
	hashes := make(stored, 0, tlog.StoredHashCount(tree.N))
	index := int64(0)
	for first := int64(0); first < tree.N; first += 256 {
		width := tree.N - first
		if width > 256 {
			width = 256
		}
		bundle, err := os.ReadFile(filepath.Join(folder, name(tlog.Tile{H: 8, L: -1, N: first / 256, W: int(width)})))
		must(err)
		for len(bundle) > 0 {
			length := int(binary.BigEndian.Uint16(bundle))
			more, err := tlog.StoredHashes(index, bundle[2:2+length], hashes)
			must(err)
			hashes = append(hashes, more...)
			bundle = bundle[2+length:]
			index++
		}
	}
	if index != tree.N {
		log.Fatalf("%d entries in the bundles, %d signed", index, tree.N)
	}
	for _, tile := range tlog.NewTiles(8, 0, tree.N) {
		// Some versions list the partial tiles of smaller trees too.
		if tile.W < 256 && int64(tile.W) != tree.N>>(8*uint(tile.L))%256 {
			continue
		}
		want, err := tlog.ReadTileData(tile, hashes)
		must(err)
		found, err := os.ReadFile(filepath.Join(folder, name(tile)))
		must(err)
		if !bytes.Equal(want, found) {
			log.Fatalf("%s is not of the tree", tile.Path())
		}
	}
	root, err := tlog.TreeHash(tree.N, hashes)
	must(err)
	if root != tree.Hash {
		log.Fatalf("the entries give %v, signed was %v", root, tree.Hash)
	}
	return tree, hashes
}

func main() {
	log.SetFlags(0)
	verifier, err := note.NewVerifier(os.Args[1])
	must(err)
	folder := os.Args[2]
	tree, hashes := full(folder, verifier)
	index := tree.N / 3
	path, err := tlog.ProveRecord(tree.N, index, hashes)
	must(err)
	leaf := hashes[tlog.StoredHashIndex(0, index)]
	hashes = nil
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		begun := time.Now()
		if lines.Text() == "proof" {
			for n := 0; n < proofs; n++ {
				must(tlog.CheckRecord(path, tree.N, tree.Hash, index, leaf))
			}
		} else {
			full(folder, verifier)
		}
		fmt.Println(time.Since(begun).Nanoseconds())
	}
}
