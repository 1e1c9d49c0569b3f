"""Text to tokens: n-grams for the hash embedding, WordPiece for the query tower.

Every function is made of core TensorFlow and TF Text ops only, so that the graphs which hold them
load in a stock model server.
"""

from tfrs_sage.text.ngrams import ngram_tokens
from tfrs_sage.text.normalise import normalise
from tfrs_sage.text.vocabulary import NgramVocabulary
from tfrs_sage.text.wordpiece import learn_wordpiece

__all__ = ["NgramVocabulary", "learn_wordpiece", "ngram_tokens", "normalise"]
