// The search takes each word for the beginning of a word: "a" would find every page with "activate". So words that
// say nothing are removed from a question before it reaches the search.
(() => {
  const QUERY = 2;
  const words = "a an and are as at be by can could do does for from get have how i if in is it me my of on or our " +
    "should so that the their there this to until was we what when where which who why will with would you your";
  const silent = new Set(words.split(" "));
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, ...rest) {
    if (message.type === QUERY) {
      const kept = message.data.split(/\s+/).filter((word) => !silent.has(word.toLowerCase().replace(/\W/g, "")));
      message = { ...message, data: kept.join(" ") || message.data };
    }
    return post.call(this, message, ...rest);
  };
})();
